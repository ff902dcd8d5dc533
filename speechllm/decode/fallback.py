"""Decode again, with another search, what went wrong with the first: loops, and what ran to its token cap."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from speechllm.interfaces import GenerationOptions, Hypothesis
from speechllm.score.failures import LOOP_REPEATS, most_repeats

T = TypeVar("T")  # an utterance, or its name


def with_fallback(
    search: Callable[[list[T], GenerationOptions], list[list[Hypothesis]]],
    options: GenerationOptions,
    fallback: GenerationOptions | None,
) -> Callable[[list[T]], list[list[Hypothesis]]]:
    """Return what recognises utterances by ``options``, and by ``fallback`` instead those that fail.

    Whether one fails depends on its own hypothesis only, so neither batches nor jobs change a result.
    """

    def recognize(utterances: list[T]) -> list[list[Hypothesis]]:
        found = search(utterances, options)
        failed = [k for k, nbest in enumerate(found) if fallback is not None and has_failed(nbest[0])]
        if failed and fallback is not None:
            for k, nbest in zip(failed, search([utterances[k] for k in failed], fallback), strict=True):
                found[k] = [replace(one, fallback=True) for one in nbest]
        return found

    return recognize


def has_failed(hypothesis: Hypothesis) -> bool:
    """Whether a hypothesis reached its token cap, or some sequence of 1 to 10 words stands 4 times in succession."""
    return hypothesis.truncated or most_repeats(hypothesis.text.split()) >= LOOP_REPEATS

"""Decode again, with another search, what went wrong with the first: loops, and what ran to its token cap."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from speechllm.decode.generate import Recognize
from speechllm.interfaces import GenerationOptions, Hypothesis
from speechllm.score.failures import LOOP_REPEATS, most_repeats

Search: TypeAlias = Callable[[list[str], GenerationOptions], list[list[Hypothesis]]]


def with_fallback(search: Search, options: GenerationOptions, fallback: GenerationOptions | None) -> Recognize:
    """Return what recognises utterances by ``options``, and by ``fallback`` instead those that fail.

    Whether one fails depends on its own hypothesis only, so neither batches nor jobs change a result.
    """

    def recognize(utt_ids: list[str]) -> list[list[Hypothesis]]:
        found = dict(zip(utt_ids, search(utt_ids, options), strict=True))
        failed = [utt_id for utt_id, nbest in found.items() if fallback is not None and has_failed(nbest[0])]
        if failed and fallback is not None:
            for utt_id, nbest in zip(failed, search(failed, fallback), strict=True):
                found[utt_id] = [replace(one, fallback=True) for one in nbest]
        return [found[utt_id] for utt_id in utt_ids]

    return recognize


def has_failed(hypothesis: Hypothesis) -> bool:
    """Whether a hypothesis reached its token cap, or some sequence of 1 to 10 words stands 4 times in succession."""
    return hypothesis.truncated or most_repeats(hypothesis.text.split()) >= LOOP_REPEATS

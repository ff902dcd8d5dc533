"""Drafts of speculative decoding, from the CTC hypothesis of a connector with a CTC head."""

from collections.abc import Callable, Sequence
from typing import Any

from speechllm.interfaces import Posteriors

CONFIDENCE = 0.7
"""A pass of the LLM drafts no token of a lower posterior by CTC, and none behind it."""


class Draft:
    """Tokens that are likely to follow those of a search.

    Where the search chooses another token, the draft goes on behind the beginning of the draft that has the smallest
    edit distance to the tokens of the search; of several the longest.

    Args:
        tokens: the whole draft.
        confidences: probability of each token; None: 1.
    """

    def __init__(self, tokens: Sequence[int] = (), confidences: Sequence[float] | None = None) -> None:
        self._tokens = list(tokens)
        self._is_sure = [one >= CONFIDENCE for one in confidences] if confidences is not None else [True] * len(tokens)
        self._distances = list(range(len(self._tokens) + 1))

    def follow(self, token: int) -> None:
        """Take the next token of the search."""
        before = self._distances
        after = [before[0] + 1]
        for place, drafted in enumerate(self._tokens):
            after.append(min(before[place] + (token != drafted), before[place + 1] + 1, after[place] + 1))
        self._distances = after

    def rest(self, limit: int) -> list[int]:
        """Return the drafted tokens behind those of the search, at most ``limit``, up to the first doubtful one."""
        least = min(self._distances)
        place = max(i for i, distance in enumerate(self._distances) if distance == least)
        sure = self._is_sure[place : place + max(0, limit)]
        return self._tokens[place : place + (sure.index(False) if False in sure else len(sure))]


def ctc_drafts(posteriors: Posteriors, tokenizer: Any, tokenize: Callable[[str], list[int]]) -> list[Draft]:
    """Return the CTC hypothesis of each utterance as a draft: the labels of its best path, in tokens of the LLM.

    Args:
        posteriors: of the CTC head.
        tokenizer: the LLM's, of transformers.
        tokenize: text to token ids.
    """
    best_BM = posteriors.log_probs_BMC.exp().max(-1)
    rows = zip(best_BM.indices.tolist(), best_BM.values.tolist(), posteriors.stacked_lens_B.tolist(), strict=True)
    drafts = []
    for classes_M, probs_M, length in rows:
        units: list[int] = []
        probs: list[float] = []
        before = 0
        for one, prob in zip(classes_M[:length], probs_M[:length], strict=True):
            if one > 0 and one == before:
                probs[-1] = max(probs[-1], prob)
            elif one > 0:
                units.append(posteriors.subwords.ids[one - 1])
                probs.append(prob)
            before = one
        text = tokenizer.decode(units)
        tokens = tokenize(text.strip())
        units_of_text = tokenizer.convert_ids_to_tokens(units), len(text) - len(text.lstrip())
        drafts.append(Draft(tokens, _confidences(tokenizer.convert_ids_to_tokens(tokens), *units_of_text, probs)))
    return drafts


def _confidences(tokens: list[str], units: list[str], skipped: int, probs: list[float]) -> list[float]:
    """Return the smallest probability of the units of each token, given both as strings of the same text.

    Args:
        tokens: tokens.
        units: subword units.
        skipped: characters that the units have before the tokens.
        probs: probability of each unit.
    """
    of_characters = [prob for unit, prob in zip(units, probs, strict=True) for _ in unit][skipped:]
    found, begin = [], 0
    for token in tokens:
        found.append(min(of_characters[begin : begin + len(token)], default=0.0))
        begin += len(token)
    return found

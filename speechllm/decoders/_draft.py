"""Drafts for speculative decoding: CTC hypotheses of a connector with a CTC head."""

from collections.abc import Callable, Sequence
from typing import Any

from speechllm.interfaces import Posteriors

CONFIDENCE = 0.7
"""Least CTC posterior of a drafted token; a pass drafts the tokens before the first one below it."""


class Draft:
    """Draft of the tokens of one utterance.

    The position in the draft is the end of the draft's prefix with the smallest edit distance to the tokens of the
    search; if several prefixes have it, the longest one.

    Args:
        tokens: all tokens of the draft.
        confidences: probability of each token; None: 1.
    """

    def __init__(self, tokens: Sequence[int] = (), confidences: Sequence[float] | None = None) -> None:
        self._tokens = list(tokens)
        self._is_sure = [one >= CONFIDENCE for one in confidences] if confidences is not None else [True] * len(tokens)
        self._distances = list(range(len(self._tokens) + 1))

    def follow(self, token: int) -> None:
        """Update the edit distances with the next token of the search."""
        before = self._distances
        after = [before[0] + 1]
        for place, drafted in enumerate(self._tokens):
            after.append(min(before[place] + (token != drafted), before[place + 1] + 1, after[place] + 1))
        self._distances = after

    def rest(self, limit: int) -> list[int]:
        """Return the next tokens of the draft, at most ``limit``, before the first one below ``CONFIDENCE``."""
        least = min(self._distances)
        place = max(i for i, distance in enumerate(self._distances) if distance == least)
        sure = self._is_sure[place : place + max(0, limit)]
        return self._tokens[place : place + (sure.index(False) if False in sure else len(sure))]


def ctc_drafts(posteriors: Posteriors, tokenizer: Any, tokenize: Callable[[str], list[int]]) -> list[Draft]:
    """Return the CTC hypothesis of each utterance as a draft: the labels of its best path as tokens of the LLM.

    Args:
        posteriors: posteriors of the CTC head.
        tokenizer: tokenizer of the LLM (transformers).
        tokenize: function from text to token ids.
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
    """Return the probability of each token: the smallest probability of the units that overlap it in the text.

    Args:
        tokens: strings of the tokens.
        units: strings of the subword units.
        skipped: number of characters of the units before the first token.
        probs: probability of each unit.
    """
    of_characters = [prob for unit, prob in zip(units, probs, strict=True) for _ in unit][skipped:]
    found, begin = [], 0
    for token in tokens:
        found.append(min(of_characters[begin : begin + len(token)], default=0.0))
        begin += len(token)
    return found

"""Scores of the next token in a search: the LLM's logits, combined with CTC, without repeated n-grams."""

from collections.abc import Sequence

from torch import Tensor

from speechllm.decoders._joint_search import JointScores
from speechllm.interfaces import GenerationOptions, Posteriors

NEG_INF = float("-inf")


class TokenScores:
    """Scores of tokens: the LLM's logits modified by the options of a search.

    Args:
        options: options of the search.
        eos: end-of-sequence token.
        posteriors: posteriors of a CTC head; None without a CTC head.
    """

    def __init__(self, options: GenerationOptions, eos: int, posteriors: Posteriors | None) -> None:
        self._ngram = options.no_repeat_ngram
        self.joint: JointScores | None = None
        if posteriors is not None and options.ctc_weight > 0:
            self.joint = JointScores(posteriors, options, eos)

    @property
    def is_plain(self) -> bool:
        """Whether the scores equal the logits."""
        return self._ngram == 0 and self.joint is None

    @property
    def needs_prefixes(self) -> bool:
        """Whether the scores depend on the previous tokens of a row."""
        return self._ngram > 0

    def __call__(self, logits_NV: Tensor, rows: Tensor, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """Return the scores (N, V) of the next token of some rows.

        Args:
            logits_NV: logits or log-probabilities of the LLM.
            rows: indices of the rows.
            prefixes: previous tokens of each row, if ``needs_prefixes``.
        """
        if self._ngram > 0:
            logits_NV = logits_NV.clone()
            for scores_V, ids in zip(logits_NV, prefixes, strict=True):
                scores_V[repeated(ids, self._ngram)] = NEG_INF
        return logits_NV if self.joint is None else self.joint(logits_NV, rows)


def repeated(ids: Sequence[int], size: int) -> list[int]:
    """Return the tokens that would repeat an n-gram of ``size`` tokens in ``ids``."""
    last = list(ids[len(ids) - size + 1 :]) if size > 1 else []
    return [ids[i + size - 1] for i in range(len(ids) - size + 1) if list(ids[i : i + size - 1]) == last]

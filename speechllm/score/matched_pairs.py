"""The matched-pair sentence segment word error test: is one system better than another on the same speech?

Gillick and Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP 1989. Segments
are cut as NIST's ``sc_stats -t mapsswe`` does: an utterance is divided wherever both systems have at least two
words in a row right, and stretches without an error of either are left out, so that the errors of
different segments are as good as independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.errors import DataError
from speechllm.score.wer import ScoredUtterance, bootstrap

BOUNDARY_WORDS = 2


@dataclass(frozen=True, kw_only=True)
class MatchedPairs:
    """The result of the test, and the difference of the two word error rates."""

    segments: int
    """Segments with an error of either system."""
    mean: float
    """Errors of the first system less those of the second, in a segment."""
    deviation: float
    """Standard deviation of that difference over the segments."""
    z: float
    """The test statistic; positive where the first system makes more errors."""
    p: float
    """Two-tailed probability of such a statistic if the systems were equally good."""
    difference: float
    """WER of the first system less that of the second (points)."""
    interval: tuple[float, float]
    """95% interval of that difference: a bootstrap over utterances, drawn for both systems alike (points)."""


def matched_pairs(first: Sequence[ScoredUtterance], second: Sequence[ScoredUtterance], seed: int = 0) -> MatchedPairs:
    """Compare two systems.

    Args:
        first: the scored utterances of one system.
        second: those of the other, of the same references in the same order.
        seed: of the bootstrap.

    Raises:
        DataError: if the references differ.
    """
    for one, other in zip(first, second, strict=False):
        if (one.utt_id, one.ref) != (other.utt_id, other.ref):
            raise DataError(
                f"{one.utt_id} and {other.utt_id}: found two references, expected the same utterances, normalised alike"
            )
    if len(first) != len(second):
        raise DataError(f"found {len(first)} and {len(second)} utterances, expected the same of both systems")
    differences = [
        errors - others
        for one, other in zip(first, second, strict=True)
        for errors, others in error_segments(one.alignment, other.alignment)
    ]
    mean, deviation, z = _statistic(differences)
    difference, interval = _bootstrap(first, second, seed)
    return MatchedPairs(
        segments=len(differences),
        mean=mean,
        deviation=deviation,
        z=z,
        p=math.erfc(abs(z) / math.sqrt(2)),
        difference=difference,
        interval=interval,
    )


def error_segments(first: str, second: str) -> list[tuple[int, int]]:
    """Return the errors of either system in each segment, from their alignments with the same reference."""
    segments: list[tuple[int, int]] = []
    right = BOUNDARY_WORDS  # words in a row that both have right
    for k, (errors, others) in enumerate(zip(_errors(first), _errors(second), strict=True)):
        if errors or others:
            if right >= BOUNDARY_WORDS:
                segments.append((0, 0))
            segments[-1] = segments[-1][0] + errors, segments[-1][1] + others
            right = 0
        elif k % 2:
            right += 1
    return segments


def _errors(alignment: str) -> list[int]:
    """Return the insertions before the first word, the error of that word, the insertions after it, and so on."""
    errors = [0]
    for letter in alignment:
        if letter == "I":
            errors[-1] += 1
        else:
            errors += [int(letter in "SD"), 0]
    return errors


def _statistic(differences: Sequence[int]) -> tuple[float, float, float]:
    if not differences:
        return 0.0, 0.0, 0.0
    mean = float(np.mean(differences))
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    if deviation == 0:  # nothing to test: no difference, or the same one in each of the segments
        return mean, deviation, 0.0 if mean == 0 or len(differences) == 1 else math.copysign(math.inf, mean)
    return mean, deviation, mean / deviation * math.sqrt(len(differences))


def _bootstrap(
    first: Sequence[ScoredUtterance], second: Sequence[ScoredUtterance], seed: int
) -> tuple[float, tuple[float, float]]:
    words = [len(u.ref) for u in first]
    more = [a.errors - b.errors for a, b in zip(first, second, strict=True)]
    return sum(more) / sum(words) * 100, bootstrap(more, words, seed)

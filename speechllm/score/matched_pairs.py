"""Matched-pair sentence segment word error test (MAPSSWE) of two systems on the same speech.

Gillick and Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP 1989. Segments
are defined as in NIST's ``sc_stats -t mapsswe``: an utterance is divided at two or more successive words that both
systems have correct, and parts without errors are left out, so that the errors of different segments are nearly
independent.
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
    """Result of the test, and difference of the two word error rates."""

    segments: int
    """Number of segments with an error of either system."""
    mean: float
    """Mean difference of errors per segment, first system minus second."""
    deviation: float
    """Standard deviation of that difference over the segments."""
    z: float
    """Test statistic; positive if the first system makes more errors."""
    p: float
    """Two-tailed p-value of the statistic."""
    difference: float
    """WER of the first system minus WER of the second (percentage points)."""
    interval: tuple[float, float]
    """95% interval of this difference: paired bootstrap over utterances (percentage points)."""


def matched_pairs(first: Sequence[ScoredUtterance], second: Sequence[ScoredUtterance], seed: int = 0) -> MatchedPairs:
    """Compare two systems.

    Args:
        first: scored utterances of the first system.
        second: scored utterances of the second system, with the same references in the same order.
        seed: random seed of the bootstrap.

    Raises:
        DataError: if the references differ.
    """
    for one, other in zip(first, second, strict=False):
        if (one.utt_id, one.ref) != (other.utt_id, other.ref):
            raise DataError(
                f"{one.utt_id} and {other.utt_id}: found different references, "
                "expected the same utterances with the same normalisation"
            )
    if len(first) != len(second):
        raise DataError(
            f"found {len(first)} and {len(second)} utterances, expected the same utterances of both systems"
        )
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
    """Return the errors of both systems in each segment, from their alignments with the same reference."""
    segments: list[tuple[int, int]] = []
    right = BOUNDARY_WORDS  # successive words that both have correct
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
    """Return alternately the insertions before a word and the error of the word, then the final insertions."""
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
    if deviation == 0:  # no test is possible: the difference is the same in every segment
        return mean, deviation, 0.0 if mean == 0 or len(differences) == 1 else math.copysign(math.inf, mean)
    return mean, deviation, mean / deviation * math.sqrt(len(differences))


def _bootstrap(
    first: Sequence[ScoredUtterance], second: Sequence[ScoredUtterance], seed: int
) -> tuple[float, tuple[float, float]]:
    words = [len(u.ref) for u in first]
    more = [a.errors - b.errors for a, b in zip(first, second, strict=True)]
    return sum(more) / sum(words) * 100, bootstrap(more, words, seed)

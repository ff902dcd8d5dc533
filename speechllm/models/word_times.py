"""Word times: forced alignment of a text with the CTC posteriors of its speech (Graves et al., 2006).

The Viterbi path assigns each stacked state to a subword unit or to the blank. A word begins with the first state of its
first unit and ends with the last state of its last unit, so times are multiples of the duration of a stacked state:
80 ms for Whisper's 50 states per second, stacked by 4.
"""

import itertools

import torch
from torch import Tensor
from torchaudio.functional import forced_align

from speechllm.interfaces import Seconds, SubwordUnits, TimedWord

DIGITS = 3
"""Decimal places of times and confidences; with more, rounding errors of batches would be visible."""


def align_words(text: str, log_probs_MC: Tensor, subwords: SubwordUnits, state_duration: Seconds) -> list[TimedWord]:
    """Return the words of a text with their times.

    A word without subword units has no times. If the text has too many units for the states, CTC cannot align it, and
    all words are without times.

    Args:
        text: text to align, such as a hypothesis.
        log_probs_MC: log-probabilities of the blank (class 0) and units in at least one valid stacked state.
        subwords: subword units of the classes.
        state_duration: duration of a stacked state (seconds).
    """
    words = text.split()
    classes = [[place + 1 for place in subwords(word)] for word in words]
    labels = [label for one in classes for label in one]
    repeats = sum(first == second for first, second in itertools.pairwise(labels))  # CTC needs a blank between two
    if not labels or len(labels) + repeats > len(log_probs_MC):
        return [TimedWord(word=word) for word in words]
    path_1M, scores_1M = forced_align(log_probs_MC[None].float().cpu(), torch.tensor([labels]))
    starts, ends, means = _spans(path_1M[0], scores_1M[0].exp())
    timed, first = [], 0
    for word, units in zip(words, classes, strict=True):
        last = first + len(units)
        if not units:
            timed.append(TimedWord(word=word))
            continue
        timed.append(
            TimedWord(
                word=word,
                start=round(starts[first] * state_duration, DIGITS),
                end=round(ends[last - 1] * state_duration, DIGITS),
                confidence=round(sum(means[first:last]) / len(units), DIGITS),
            )
        )
        first = last
    return timed


def _spans(path_M: Tensor, probs_M: Tensor) -> tuple[list[int], list[int], list[float]]:
    """Return the first state, the end (last state + 1) and the mean posterior of each unit on a path."""
    starts, ends, means = [], [], []
    begin = 0
    for label, run in itertools.groupby(path_M.tolist()):
        end = begin + len(list(run))
        if label != 0:
            starts.append(begin)
            ends.append(end)
            means.append(float(probs_M[begin:end].mean()))
        begin = end
    return starts, ends, means

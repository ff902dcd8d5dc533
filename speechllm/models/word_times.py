"""Word times: forced alignment of a text with the CTC posteriors of its speech (Graves et al., 2006).

The Viterbi path assigns each stacked state to a subword unit or to the blank. A word begins with the first state of its
first unit and ends with the last state of its last unit, so times are multiples of the duration of a stacked state:
80 ms for Whisper's 50 states per second, stacked by 4. As CTC may assign few states of a word to its units, the end is
then moved to the next pause or the next word; not with dumped encoder states, which have no levels.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from speechllm.ctc import align
from speechllm.interfaces import Seconds, SubwordUnits, TimedWord

DIGITS = 3
"""Decimal places of times and confidences; with more, rounding errors of batches would be visible."""
LEVELS_PER_SECOND = 100
PAUSE = 12
"""Least number of levels of a pause; the closure of a plosive is shorter."""
SPEECH_LEVEL = 0.4
"""Least level of speech, from 0, the 5th percentile of the levels of an utterance, to 1, their 95th percentile."""
RANGE = 40.0
"""Largest difference of these percentiles (dB); digital silence is not the noise of a recording."""


def align_words(
    text: str,
    log_probs_MC: Tensor,
    subwords: SubwordUnits,
    state_duration: Seconds,
    states_M: Sequence[int] | None = None,
) -> list[TimedWord]:
    """Return the words of a text with their times.

    A word without subword units has no times. If the text has too many units for the states, CTC cannot align it, and
    all words are without times.

    Args:
        text: text to align, such as a hypothesis.
        log_probs_MC: log-probabilities of the blank (class 0) and units in at least one valid position.
        subwords: subword units of the classes.
        state_duration: duration of a stacked state (seconds).
        states_M: stacked state of each position; None: position m is state m.
    """
    words = text.split()
    classes = [[place + 1 for place in subwords(word)] for word in words]
    spans = align(log_probs_MC, [label for one in classes for label in one])
    if not spans:
        return [TimedWord(word=word) for word in words]
    states_M = range(len(log_probs_MC)) if states_M is None else states_M
    timed, first = [], 0
    for word, units in zip(words, classes, strict=True):
        own = spans[first : first + len(units)]
        if not units:
            timed.append(TimedWord(word=word))
            continue
        timed.append(
            TimedWord(
                word=word,
                start=round(states_M[own[0].start] * state_duration, DIGITS),
                end=round((states_M[own[-1].end - 1] + 1) * state_duration, DIGITS),
                confidence=round(sum(span.mean for span in own) / len(own), DIGITS),
            )
        )
        first += len(own)
    return timed


def extend_words(words: Sequence[TimedWord], levels_T: np.ndarray) -> list[TimedWord]:
    """Return words that end with the next pause or the next word.

    No word becomes shorter. Words without times are not changed.

    Args:
        words: words of an utterance.
        levels_T: level (dB) of every 10 ms of the utterance; see ``Frontend.levels``.
    """
    low, high = np.percentile(levels_T, [5, 95])
    smooth_T = np.convolve(np.pad(levels_T, 1, mode="edge"), np.full(3, 1 / 3), "valid")
    quiet_T = smooth_T <= high - (1 - SPEECH_LEVEL) * min(high - low, RANGE)
    windows_TP = sliding_window_view(np.pad(quiet_T, (0, PAUSE), constant_values=True), PAUSE)
    pauses_K = np.flatnonzero(windows_TP.all(1))  # first frames; the last one is the end of the utterance
    extended, following = [], len(levels_T)
    for word in reversed(words):
        if word.start is not None and word.end is not None:
            place = int(np.searchsorted(pauses_K, round(word.end * LEVELS_PER_SECOND)))
            end = min(int(pauses_K[min(place, len(pauses_K) - 1)]), following) / LEVELS_PER_SECOND
            following = int(word.start * LEVELS_PER_SECOND)
            word = replace(word, end=max(word.end, end))
        extended.append(word)
    return extended[::-1]

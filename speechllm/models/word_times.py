"""Word times: forced alignment of a text with the CTC posteriors of its speech (Graves et al., 2006).

The Viterbi path assigns each stacked state to a subword unit or to the blank. A word begins with the first state of its
first unit and ends with the last state of its last unit, so times are multiples of the duration of a stacked state:
80 ms for Whisper's 50 states per second, stacked by 4.
"""

from collections.abc import Sequence

from torch import Tensor

from speechllm.ctc import align
from speechllm.interfaces import Seconds, SubwordUnits, TimedWord

DIGITS = 3
"""Decimal places of times and confidences; with more, rounding errors of batches would be visible."""


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

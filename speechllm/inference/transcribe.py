"""From recordings of any length to transcripts: cut into windows, recognised in batches, concatenated again."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from speechllm.data.audio.read import finite, read_blocks
from speechllm.data.audio.windows import Window, cut_windows
from speechllm.errors import ConfigError, DataError
from speechllm.inference.transcript import Segment, Transcript
from speechllm.interfaces import Hypothesis, Seconds, TimedWord
from speechllm.score.failures import LOOP_REPEATS, most_repeats

Audio: TypeAlias = str | os.PathLike[str] | tuple[Any, int]
"""The path of a file, or samples (N,), (N, channels) or (channels, N) with their rate in Hz."""
BLOCK: Seconds = 10.0
"""What is read of a file at a time."""
SHORTEST: Seconds = 1.0
"""Lower bound of the maximum window; shorter ones cut within words and make thousands of windows."""
UNSURE = -1.0
"""Hypotheses whose tokens have a mean log-probability below this (nats) are doubtful, as they are to Whisper."""


def check_options(batch_size: int, max_window: Seconds | None) -> None:
    """Check the options of a transcription.

    Raises:
        ConfigError: if ``batch_size`` is less than 1, or ``max_window`` less than a second or not finite.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size: found {batch_size}, expected at least 1")
    if max_window is not None and not SHORTEST <= max_window < math.inf:
        raise ConfigError(f"max_window: found {max_window} s, expected a number of at least {SHORTEST:g} s")


@dataclass
class _Recording:
    """One whose windows are being recognised."""

    source: str
    segments: list[Segment | None] = field(default_factory=list)
    """One for each window that was read; None until it is recognised."""
    whole: bool = False
    """Whether all of its windows were read, or none of them will be any more."""
    error: DataError | None = None

    def result(self) -> Transcript | DataError:
        """Return what was recognised, or what was wrong."""
        if self.error is not None:
            return self.error
        segments = [segment for segment in self.segments if segment is not None]
        return Transcript(source=self.source, duration=segments[-1].end, segments=segments)


class Transcriber:
    """Recognises recordings one after another, with windows of several of them in a batch.

    Args:
        recognize: returns the n-best hypotheses of each of some waveforms.
        sample_rate: of these waveforms, in Hz.
        max_window: seconds that are recognised at once, at most.
        batch_size: windows that are recognised at once, at most.
        progress: told the seconds of windows that were recognised.
    """

    def __init__(
        self,
        recognize: Callable[[list[np.ndarray]], list[list[Hypothesis]]],
        *,
        sample_rate: int,
        max_window: Seconds,
        batch_size: int,
        progress: Callable[[Seconds], None] | None = None,
    ) -> None:
        self._recognize, self._sample_rate = recognize, sample_rate
        self._progress = progress or (lambda seconds: None)
        self._max_window, self._batch_size = max_window, batch_size
        self._waiting: list[tuple[_Recording, int, Window]] = []

    def __call__(self, recordings: Iterable[Audio]) -> Iterator[Transcript | DataError]:
        """Yield the transcript of each recording, in order, or the error because of which it has none."""
        under_way: deque[_Recording] = deque()
        for audio in recordings:
            under_way.append(_Recording(_source(audio)))
            self._read(audio, under_way[-1])
            while under_way and under_way[0].whole and None not in under_way[0].segments:
                yield under_way.popleft().result()
        self._recognize_waiting()
        for recording in under_way:
            yield recording.result()

    def _read(self, audio: Audio, recording: _Recording) -> None:
        try:
            for window in cut_windows(_blocks(audio), self._sample_rate, self._max_window):
                self._take(window, recording)
        except DataError as error:
            recording.error, recording.segments = error, []
            self._waiting = [entry for entry in self._waiting if entry[0] is not recording]
        recording.whole = True

    def _take(self, window: Window, recording: _Recording) -> None:
        if window.is_silent:
            recording.segments.append(_segment(window, [], ["silence"]))
            self._progress(window.end - window.start)
            return
        self._waiting.append((recording, len(recording.segments), window))
        recording.segments.append(None)
        if len(self._waiting) == self._batch_size:
            self._recognize_waiting()

    def _recognize_waiting(self) -> None:
        """Recognise the windows that are waiting, and give each recording its segments."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        results = self._recognize([window.samples_N for _, _, window in waiting])
        for (recording, number, window), nbest in zip(waiting, results, strict=True):
            recording.segments[number] = _segment(window, nbest, _warnings(nbest[0]))
            self._progress(window.end - window.start)


def _segment(window: Window, nbest: list[Hypothesis], warnings: list[str]) -> Segment:
    if not nbest:
        return Segment(start=window.start, end=window.end, text="", nbest=nbest, warnings=warnings)
    words = [_shifted(word, window) for word in nbest[0].words]
    nbest = [replace(nbest[0], words=()), *nbest[1:]]
    return Segment(start=window.start, end=window.end, text=nbest[0].text, nbest=nbest, warnings=warnings, words=words)


def _shifted(word: TimedWord, window: Window) -> TimedWord:
    """Return a word of a window with its times in the recording; the last stacked state may end behind the window."""
    if word.start is None or word.end is None:
        return word
    start, end = (round(min(window.start + time, window.end), 3) for time in (word.start, word.end))
    return replace(word, start=start, end=end)


def _warnings(best: Hypothesis) -> list[str]:
    """Return what is doubtful about a hypothesis."""
    log_probs = [log_prob for _, log_prob in best.tokens]
    found = {
        "empty": not best.text,
        "loop": most_repeats(best.text.split()) >= LOOP_REPEATS,
        "truncated": best.truncated,
        "unsure": bool(log_probs) and sum(log_probs) / len(log_probs) < UNSURE,
        "untimed": any(word.start is None for word in best.words),
    }
    return [name for name, is_so in found.items() if is_so]


def _source(audio: Audio) -> str:
    return "samples" if isinstance(audio, tuple) else os.fspath(audio)


def _blocks(audio: Audio) -> Iterable[tuple[np.ndarray, int]]:
    """Return the samples of a recording, of one channel, in blocks."""
    if not isinstance(audio, tuple):
        return read_blocks(Path(audio), BLOCK)
    samples, rate = np.asarray(audio[0]), audio[1]
    if not np.issubdtype(samples.dtype, np.floating):
        raise DataError(f"samples: found {samples.dtype}, expected floating point with full scale 1; divide them")
    if samples.ndim not in (1, 2) or samples.size == 0 or rate <= 0:
        raise DataError(
            f"samples: found shape {samples.shape} at {rate} Hz, expected (N,), (N, channels) or (channels, N) of at "
            "least one sample, and their rate"
        )
    if samples.ndim == 2:
        samples = samples.mean(int(np.argmin(samples.shape)))
    return [(finite(samples.astype(np.float32), "samples"), rate)]

"""Transcribe recordings of any length: cut them into windows, decode batches of windows, concatenate the texts."""

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
"""Length of the blocks that are read from a file."""
SHORTEST: Seconds = 1.0
"""Least maximum window; with shorter windows, words would be cut and the number of windows would be large."""
UNSURE = -1.0
"""Threshold of the mean log-probability of tokens (nats) for the warning ``unsure``, as in Whisper."""


def check_options(batch_size: int, max_window: Seconds | None) -> None:
    """Check the options of a transcription.

    Raises:
        ConfigError: if ``batch_size`` is less than 1, or ``max_window`` is less than a second or not finite.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size: found {batch_size}, expected at least 1")
    if max_window is not None and not SHORTEST <= max_window < math.inf:
        raise ConfigError(f"max_window: found {max_window} s, expected a number of at least {SHORTEST:g} s")


@dataclass
class _Recording:
    """A recording in progress."""

    source: str
    segments: list[Segment | None] = field(default_factory=list)
    """One segment for each window read so far; None until it is decoded."""
    whole: bool = False
    """Whether reading has ended: all windows were read, or there was an error."""
    error: DataError | None = None

    def result(self) -> Transcript | DataError:
        """Return the transcript or the error."""
        if self.error is not None:
            return self.error
        segments = [segment for segment in self.segments if segment is not None]
        return Transcript(source=self.source, duration=segments[-1].end, segments=segments)


class Transcriber:
    """Transcribe recordings in order, with windows of several recordings in a batch.

    Args:
        recognize: function from waveforms to the n-best hypotheses of each.
        sample_rate: sample rate of the waveforms (Hz).
        max_window: largest length of a window (seconds).
        batch_size: largest number of windows in a batch.
        progress: function called with the duration of each finished window (seconds).
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
        """Yield the transcript or the error of each recording, in order."""
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
        """Decode the waiting windows, and store the segments in their recordings."""
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
    """Return a word of a window with its times in the recording, limited to the end of the window."""
    if word.start is None or word.end is None:
        return word
    start, end = (round(min(window.start + time, window.end), 3) for time in (word.start, word.end))
    return replace(word, start=start, end=end)


def _warnings(best: Hypothesis) -> list[str]:
    """Return the warnings about a hypothesis; see ``Segment.warnings``."""
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
    """Return the samples of a recording as one channel, in blocks."""
    if not isinstance(audio, tuple):
        return read_blocks(Path(audio), BLOCK)
    samples, rate = np.asarray(audio[0]), audio[1]
    if not np.issubdtype(samples.dtype, np.floating):
        raise DataError(
            f"samples: found {samples.dtype}, expected floating point in [-1, 1]; divide them by their full scale"
        )
    if samples.ndim not in (1, 2) or samples.size == 0 or rate <= 0:
        raise DataError(
            f"samples: found shape {samples.shape} at {rate} Hz, expected (N,), (N, channels) or (channels, N) with at "
            "least one sample, and a positive rate"
        )
    if samples.ndim == 2:
        samples = samples.mean(int(np.argmin(samples.shape)))
    return [(finite(samples.astype(np.float32), "samples"), rate)]

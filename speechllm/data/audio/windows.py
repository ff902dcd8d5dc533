"""Recordings of any length cut at their quietest places into windows that fit the model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from speechllm.data.audio.resample import resample
from speechllm.interfaces import Seconds

FRAME: Seconds = 0.02
"""Frame length of the loudness measurement (seconds)."""
PAUSE: Seconds = 0.2
"""Length of the stretches whose loudness is compared (seconds); a cut is in the middle of the quietest."""
SILENCE_DB = -60.0
"""A window is silent if no stretch is louder than this (dB relative to full scale)."""


@dataclass(frozen=True)
class Window:
    """A part of a recording."""

    start: Seconds
    end: Seconds
    samples_N: np.ndarray
    """float32, at the requested rate."""

    @property
    def is_silent(self) -> bool:
        """Whether no stretch is as loud as the softest speech."""
        return bool(_loudness(self.samples_N, len(self.samples_N) / (self.end - self.start)).max() < SILENCE_DB)


def cut_windows(blocks: Iterable[tuple[np.ndarray, int]], sample_rate: int, max_window: Seconds) -> Iterator[Window]:
    """Cut a recording into windows of at most ``max_window`` seconds; a shorter recording is one window.

    A cut is at the quietest place of the second half of the maximum window, to keep words whole, and leaves at least a
    quarter of the maximum window after it, to avoid a last window with part of a word.

    Args:
        blocks: successive samples of a recording, with their rate, the same for all.
        sample_rate: rate of the windows (Hz).
        max_window: maximum duration of a window.

    Yields:
        The windows, in order and without gaps. At most two windows and a block are held in memory.
    """
    held_N, first, rate = np.zeros(0, dtype=np.float32), 0, 0
    for samples_N, rate in blocks:
        held_N = np.concatenate([held_N, samples_N])
        while len(held_N) >= 2 * max_window * rate:
            window, held_N = _cut(held_N, first, rate, sample_rate, max_window)
            first = round(window.end * rate)
            yield window
    while len(held_N):
        window, held_N = _cut(held_N, first, rate, sample_rate, max_window)
        first = round(window.end * rate)
        yield window


def _cut(held_N: np.ndarray, first: int, rate: int, sample_rate: int, max_window: Seconds) -> tuple[Window, np.ndarray]:
    """Return the first window of ``held_N``, which begins at sample ``first``, and the remaining samples."""
    num_samples = len(held_N)
    if num_samples > max_window * rate:
        begin = round(max_window / 2 * rate)
        end = round(min(max_window * rate, num_samples - max_window / 4 * rate))
        num_samples = begin + _quietest(held_N[begin:end], rate)
    samples_N = resample(held_N[:num_samples], rate, sample_rate)
    return Window(first / rate, (first + num_samples) / rate, samples_N), held_N[num_samples:]


def _quietest(samples_N: np.ndarray, rate: int) -> int:
    """Return the middle of the quietest stretch, the last if several are equal (samples)."""
    loudness_T = _loudness(samples_N, rate)
    last = len(loudness_T) - 1 - int(loudness_T[::-1].argmin())
    return min(round(last * FRAME * rate + PAUSE / 2 * rate), len(samples_N))


def _loudness(samples_N: np.ndarray, rate: float) -> np.ndarray:
    """Return the loudness of the stretch that begins at each frame: mean power in dB, 0 at full scale."""
    frame = max(1, round(FRAME * rate))
    power_T = np.square(np.resize(samples_N, -(-len(samples_N) // frame) * frame)).reshape(-1, frame).mean(1)
    width = min(len(power_T), round(PAUSE / FRAME))
    mean_T = np.convolve(power_T, np.full(width, 1 / width), mode="valid")
    return 10 * np.log10(np.maximum(mean_T, 1e-20))

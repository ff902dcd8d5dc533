"""Windows of long speech: cuts at quiet places, no gaps, the maximum duration, and low memory use."""

from collections.abc import Iterator

import numpy as np
import pytest

from speechllm.data.audio.windows import cut_windows

RATE = 16000


def speech(duration: float, pauses: list[float]) -> np.ndarray:
    """Noise of ``duration`` seconds, soft for 0.3 s from each of ``pauses`` on."""
    samples_N = np.random.default_rng(0).uniform(-0.3, 0.3, round(duration * RATE)).astype(np.float32)
    for start in pauses:
        samples_N[round(start * RATE) : round((start + 0.3) * RATE)] *= 0.01
    return samples_N


def blocks(samples_N: np.ndarray, seconds: float = 1.7, rate: int = RATE) -> Iterator[tuple[np.ndarray, int]]:
    size = round(seconds * rate)
    for start in range(0, len(samples_N), size):
        yield samples_N[start : start + size], rate


def test_short_speech_stays_whole() -> None:
    samples_N = speech(10.0, [5.0])
    (window,) = cut_windows(blocks(samples_N), RATE, 10.0)
    assert (window.start, window.end) == (0.0, 10.0)
    assert np.array_equal(window.samples_N, samples_N)


def test_cuts_lie_in_pauses_and_lose_nothing() -> None:
    pauses = [3.0, 8.1, 15.0, 22.5, 26.4]
    samples_N = speech(31.0, pauses)
    windows = list(cut_windows(blocks(samples_N), RATE, 10.0))
    assert np.array_equal(np.concatenate([window.samples_N for window in windows]), samples_N)
    for window in windows[:-1]:
        assert any(start <= window.end <= start + 0.3 for start in pauses), window.end
    assert all(window.end - window.start <= 10.0 for window in windows)


@pytest.mark.parametrize("duration", [10.01, 12.0, 19.9, 20.0, 20.1, 47.3])
def test_no_scrap_is_left(duration: float) -> None:
    windows = list(cut_windows(blocks(speech(duration, [])), RATE, 10.0))
    assert windows[-1].end == pytest.approx(duration)
    assert all(2.4 < window.end - window.start <= 10.0 for window in windows)


def test_windows_do_not_depend_on_blocks() -> None:
    samples_N = speech(61.0, [7.0, 16.0, 24.0, 33.0, 41.0, 50.0])
    ends = [[w.end for w in cut_windows(blocks(samples_N, size), RATE, 10.0)] for size in (0.5, 3.0, 61.0)]
    assert ends[0] == ends[1] == ends[2]


def test_little_is_held_in_memory() -> None:
    taken = 0

    def endless() -> Iterator[tuple[np.ndarray, int]]:
        nonlocal taken
        while True:
            taken += 1
            yield speech(1.0, []), RATE

    windows = cut_windows(endless(), RATE, 10.0)
    for _ in range(20):
        window = next(windows)
        assert taken - window.end <= 20, "seconds read ahead"


def test_rate_is_converted_and_silence_known() -> None:
    loud, silent = speech(1.0, []), np.zeros(RATE, dtype=np.float32)
    (window,) = cut_windows([(loud, 2 * RATE)], RATE, 10.0)
    assert len(window.samples_N) == RATE // 2 and window.end == 0.5 and not window.is_silent
    (window,) = cut_windows([(silent + 1e-5, RATE)], RATE, 10.0)
    assert window.is_silent
    (window,) = cut_windows([(np.concatenate([silent, loud[: RATE // 4]]), RATE)], RATE, 10.0)
    assert not window.is_silent

"""Conversion of sampling rates: exact times, low cost at any rate, and the same kernel for all rates."""

import resource
import time

import numpy as np
import pytest

from speechllm.data.audio.resample import _OddRate, resample
from speechllm.errors import DataError

RATE = 16000


def tone(frequency: float, num_samples: int, rate: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(num_samples) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [44101, 22254, 7999, 11127, 47951, 96001])
def test_a_tone_keeps_its_frequency_phase_and_duration(rate: int) -> None:
    num_samples = 20 * rate + 7  # longer than a piece
    for frequency in (440.0, 0.42 * min(rate, RATE)):
        found_N = resample(tone(frequency, num_samples, rate), rate, RATE)
        assert found_N.dtype == np.float32 and len(found_N) == -(-num_samples * RATE // rate)
        edge = RATE // 20
        assert np.abs(found_N - tone(frequency, len(found_N), RATE))[edge:-edge].max() < 5e-5


@pytest.mark.parametrize(("rate", "target"), [(44100, RATE), (11025, RATE), (8000, RATE), (RATE, 8000)])
def test_odd_rates_have_torchaudios_kernel(rate: int, target: int) -> None:
    samples_N = np.random.default_rng(0).uniform(-1, 1, rate + 11).astype(np.float32)
    expected_N, found_N = resample(samples_N, rate, target), _OddRate(rate, target)(samples_N)
    assert found_N.shape == expected_N.shape
    assert np.abs(found_N - expected_N).max() < 5e-5


@pytest.mark.parametrize("rate", [22254, 44101, 191999])
def test_an_odd_rate_takes_neither_time_nor_memory(rate: int) -> None:
    samples_N = tone(1000, rate, rate)
    resample(tone(1000, 44100, 44100), 44100, RATE)  # imports torch
    memory, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    resample(samples_N, rate, RATE)
    assert time.process_time() - begin < 1.0  # 36 s with a kernel for each phase
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000, "KiB"


@pytest.mark.parametrize("num_samples", [1, 2, 50, 1000])
def test_few_samples(num_samples: int) -> None:
    found_N = resample(np.ones(num_samples, dtype=np.float32), 44101, RATE)
    assert len(found_N) == -(-num_samples * RATE // 44101)
    assert np.abs(found_N - resample(np.ones(num_samples, dtype=np.float32), 44100, RATE)[: len(found_N)]).max() < 1e-2


def test_rates_that_are_none_of_audio() -> None:
    for rate in (0, 3, 2_000_000_000):
        with pytest.raises(DataError, match=f"found {rate} Hz, expected 100 to 1000000"):
            resample(np.ones(100, dtype=np.float32), rate, RATE)

"""Conversion between sampling rates, by the same windowed sinc for all rates.

The kernel is torchaudio's best (``sinc_interp_kaiser``): Kaiser window with beta 14.77, 64 zero crossings per side,
cutoff at 0.9476 of the lower Nyquist frequency. torchaudio stores a kernel for every phase of the reduced ratio of the
rates. This takes gigabytes for rates without a large common divisor, such as 44,101 Hz and 16 kHz. For these the same
kernel is evaluated on a grid of at least 8 times the lower rate and interpolated by a polynomial of degree 5
(Lagrange); the result differs from that of the exact kernel by less than 5e-5 of full scale. In both cases output
sample n is at the exact time n / sample_rate, so no drift accumulates.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from speechllm.errors import DataError

LOWEST_RATE, HIGHEST_RATE = 100, 1_000_000  # Hz
_ZERO_CROSSINGS = 64
_ROLLOFF = 0.9475937167399596
_BETA = 14.769656459379492
_LARGEST_KERNEL = 1 << 22
"""Largest kernel of torchaudio that is used (elements): 44.1 kHz needs 130,000, 47,952 Hz 3.8 million."""
_OVERSAMPLING = 8
_BLOCK = 64  # stride of the convolution (input samples)
_PIECE = 1 << 18  # output samples per computation


def resample(samples_N: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Convert ``samples_N`` from ``rate`` to ``sample_rate``, both in Hz: N becomes ceil(N * sample_rate / rate).

    Raises:
        DataError: if a rate is out of range.
    """
    if rate == sample_rate or len(samples_N) == 0:
        return samples_N
    for one in (rate, sample_rate):
        if not LOWEST_RATE <= one <= HIGHEST_RATE:
            raise DataError(f"sampling rate: found {one} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE}")
    return _resampler(rate, sample_rate)(samples_N)


@functools.lru_cache(maxsize=8)
def _resampler(rate: int, sample_rate: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that converts samples_N; torch is imported only if there is something to convert."""
    divisor = math.gcd(rate, sample_rate)
    num_taps = 2 * _half_width(rate, sample_rate) + rate // divisor
    if sample_rate // divisor * num_taps > _LARGEST_KERNEL:
        return _OddRate(rate, sample_rate)
    import torch
    from torchaudio.transforms import Resample

    convert = Resample(
        rate,
        sample_rate,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=_ZERO_CROSSINGS,
        rolloff=_ROLLOFF,
        beta=_BETA,
    )
    return lambda samples_N: convert(torch.from_numpy(samples_N)).numpy()


def _half_width(rate: int, sample_rate: int) -> int:
    """Return the number of input samples that the kernel covers on each side."""
    return math.ceil(_ZERO_CROSSINGS * rate / (min(rate, sample_rate) * _ROLLOFF))


class _OddRate:
    """Conversion between rates with a small common divisor: band-limited oversampling, then interpolation."""

    def __init__(self, rate: int, sample_rate: int) -> None:
        self._rate, self._sample_rate = rate, sample_rate
        self._factor = math.ceil(_OVERSAMPLING * min(rate, sample_rate) / rate)
        self._width = _half_width(rate, sample_rate)
        # Row p holds the taps of the output at time p / factor within a block of input samples.
        times_PK = np.arange(_BLOCK * self._factor)[:, None] / self._factor - np.arange(
            -self._width, self._width + _BLOCK
        )
        crossings_PK = times_PK * (min(rate, sample_rate) * _ROLLOFF / rate)
        inside_PK = 1 - np.minimum(np.square(crossings_PK / _ZERO_CROSSINGS), 1)
        window_PK = np.where(inside_PK > 0, np.i0(_BETA * np.sqrt(inside_PK)), 0) / np.i0(_BETA)
        scale = min(rate, sample_rate) * _ROLLOFF / rate
        self._kernel_PK = (np.sinc(crossings_PK) * window_PK * scale).astype(np.float32)

    def __call__(self, samples_N: np.ndarray) -> np.ndarray:
        num_outputs = -(-len(samples_N) * self._sample_rate // self._rate)
        starts = range(0, num_outputs, _PIECE)
        pieces = [self._piece(samples_N, start, min(start + _PIECE, num_outputs)) for start in starts]
        return np.concatenate(pieces)

    def _piece(self, samples_N: np.ndarray, start: int, end: int) -> np.ndarray:
        """Return the output samples from ``start`` up to, but excluding, ``end``."""
        ticks_M = np.arange(start, end, dtype=np.int64) * (self._rate * self._factor)
        grid_M, rest_M = ticks_M // self._sample_rate, ticks_M % self._sample_rate
        first = int(grid_M[0]) // self._factor - 3  # first input sample of the oversampled signal
        last = int(grid_M[-1]) // self._factor + 4
        oversampled_G = self._oversample(samples_N, first, last)
        weights_6M = _lagrange((rest_M / self._sample_rate).astype(np.float32))
        grid_M -= first * self._factor
        result_M = np.zeros(end - start, dtype=np.float32)
        for offset, weights_M in zip(range(-2, 4), weights_6M, strict=True):
            result_M += weights_M * oversampled_G[grid_M + offset]
        return result_M

    def _oversample(self, samples_N: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return the filtered signal, oversampled by ``factor``, from input sample ``first`` to at least ``last``."""
        import torch

        num_blocks = -(-(last - first) // _BLOCK)
        begin, end = first - self._width, first + num_blocks * _BLOCK + self._width
        part_N = samples_N[max(begin, 0) : max(end, 0)]
        before = min(max(-begin, 0), end - begin)
        padded_N = np.pad(part_N, (before, end - begin - before - len(part_N)))
        filtered = torch.nn.functional.conv1d(
            torch.from_numpy(padded_N)[None, None], torch.from_numpy(self._kernel_PK)[:, None], stride=_BLOCK
        )
        return filtered[0].T.reshape(-1).numpy()


def _lagrange(fractions_M: np.ndarray) -> list[np.ndarray]:
    """Return the weights of the points at -2, -1, 0, 1, 2, 3 for interpolation at ``fractions_M``, 0 to 1."""
    points = range(-2, 4)
    weights = []
    for point in points:
        others = [other for other in points if other != point]
        product_M = np.ones_like(fractions_M)
        for other in others:
            product_M *= (fractions_M - other) / (point - other)
        weights.append(product_M)
    return weights

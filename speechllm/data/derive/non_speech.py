"""Data directories without speech: silence, noises, hum and others, in which nothing ought to be recognised.

The speaker of an utterance names what is heard in it, so that results by speaker are results by kind.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from speechllm.data.audio.write import write_flac
from speechllm.data.kaldi.data_dir import Utterance, is_made, write_data_dir
from speechllm.data.kaldi.target import check_target
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

SAMPLE_RATE = 16000  # Hz
DURATIONS: tuple[Seconds, ...] = (1, 3, 10, 25)
TRAINING_DURATIONS: tuple[Seconds, Seconds] = (0.5, 15)
LEVEL = -35.0  # dBFS, root mean square
PEAK = 0.99
HUM = (50, 100, 150, 250)  # Hz
CLICKS = 4  # a second
NOTE: Seconds = 0.25
NOTES = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)  # Hz, a major scale

Rng = np.random.Generator


def silence(number: int, rng: Rng) -> np.ndarray:
    """Return digital silence (samples_N)."""
    return np.zeros(number)


def white(number: int, rng: Rng) -> np.ndarray:
    """Return noise of the same power at all frequencies (samples_N)."""
    return rng.standard_normal(number)


def pink(number: int, rng: Rng) -> np.ndarray:
    """Return noise whose power falls with the frequency (samples_N)."""
    return _shaped(number, rng, 0.5)


def brown(number: int, rng: Rng) -> np.ndarray:
    """Return noise whose power falls with the square of the frequency, as that of wind and rumble (samples_N)."""
    return _shaped(number, rng, 1.0)


def hum(number: int, rng: Rng) -> np.ndarray:
    """Return the hum of mains with some harmonics (samples_N)."""
    time = np.arange(number) / SAMPLE_RATE
    parts = [np.sin(2 * np.pi * (frequency * time + rng.random())) / frequency for frequency in HUM]
    return np.asarray(np.sum(parts, axis=0))


def clicks(number: int, rng: Rng) -> np.ndarray:
    """Return short bursts at random, as of keys or drops (samples_N)."""
    hits = rng.standard_normal(number) * (rng.random(number) < CLICKS / SAMPLE_RATE)
    hits[rng.integers(number)] = 1  # at least one
    burst = rng.standard_normal(SAMPLE_RATE // 50) * np.exp(-np.linspace(0, 5, SAMPLE_RATE // 50))
    return np.convolve(hits, burst)[:number]


def melody(number: int, rng: Rng) -> np.ndarray:
    """Return plucked notes, one after the other (samples_N)."""
    time = np.arange(number) / SAMPLE_RATE
    pitch = rng.choice(NOTES, len(time) // int(NOTE * SAMPLE_RATE) + 1)[(time // NOTE).astype(int)]
    parts = [np.sin(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in (1, 2, 3, 4, 5)]
    return np.asarray(np.sum(parts, axis=0)) * np.exp(-4 * (time % NOTE) / NOTE)


KINDS: dict[str, Callable[[int, Rng], np.ndarray]] = {
    kind.__name__: kind for kind in (silence, white, pink, brown, hum, clicks, melody)
}
NOISES = ("silence", "white", "pink", "brown", "hum")  # the kinds that are made where none are named


def make_non_speech(target: str | Path, seed: int = 0, train: int = 0, kinds: Sequence[str] = NOISES) -> bool:
    """Write a data directory of each kind in each of ``DURATIONS``, and its audio into a folder of ``<target>_audio``.

    Audio of an earlier draw stays in its own folder there, for what was dumped or trained from it.

    Args:
        target: the data directory.
        seed: another one makes other noise.
        train: instead, so many pieces of each kind, of durations drawn from ``TRAINING_DURATIONS``, with empty
            transcripts: to train on.
        kinds: what to make, of ``KINDS``.

    Returns:
        Whether anything was written: not if the target is there already.

    Raises:
        DataError: if there is no such kind, or the number is negative.
    """
    if train < 0:
        raise DataError(f"train: found {train}, expected a number of pieces, or 0 for a set to test on")
    if unknown := set(kinds) - KINDS.keys():
        raise DataError(f"kinds: found {sorted(unknown)}, expected some of {' '.join(KINDS)}")
    rng = np.random.default_rng([seed, train])  # what is tested on is not drawn again to train on
    durations = np.round(rng.uniform(*TRAINING_DURATIONS, train), 2).tolist() if train else DURATIONS
    span = (*TRAINING_DURATIONS, train) if train else DURATIONS
    fingerprint = f"non_speech {seed} {span} {LEVEL} {PEAK} {' '.join(kinds)}\n"
    if is_made(target, fingerprint):
        return False
    check_target(target)
    audio = (
        Path(f"{target}_audio") / hashlib.sha256(fingerprint.encode()).hexdigest()[:8]
    )  # other noise has another path
    utts = []
    for kind in kinds:
        for number, duration in enumerate(durations):
            utt_id = f"{kind}-{number}"
            samples_N = _at_level(KINDS[kind](round(duration * SAMPLE_RATE), rng))
            path = write_flac(audio / f"{utt_id}.flac", samples_N, SAMPLE_RATE)
            text = "" if train else None
            utts.append(Utterance(utt_id=utt_id, speaker=kind, path=path, duration=duration, text=text))
    write_data_dir(target, utts, fingerprint=fingerprint)
    return True


def _shaped(number: int, rng: Rng, exponent: float) -> np.ndarray:
    """Return noise whose amplitude falls with a power of the frequency, above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(number))
    frequencies = np.maximum(np.fft.rfftfreq(number, 1 / SAMPLE_RATE), 20)
    return np.fft.irfft(spectrum / frequencies**exponent, number)


def _at_level(samples_N: np.ndarray) -> np.ndarray:
    """Return the samples at ``LEVEL``, or as near to it as leaves none of them clipped."""
    power, peak = np.sqrt(np.mean(samples_N**2)), np.abs(samples_N).max()
    return samples_N * min(10 ** (LEVEL / 20) / power, PEAK / peak) if power > 0 else samples_N

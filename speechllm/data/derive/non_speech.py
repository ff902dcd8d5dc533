"""Non-speech data directories: silence, synthetic noise, hum and others, to count hallucinated words.

The speaker of an utterance is the kind of sound, so that results by speaker are results by kind.
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
CLICKS = 4  # per second
NOTE: Seconds = 0.25
NOTES = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)  # Hz, a major scale

Rng = np.random.Generator


def silence(number: int, rng: Rng) -> np.ndarray:
    """Return digital silence (samples_N)."""
    return np.zeros(number)


def white(number: int, rng: Rng) -> np.ndarray:
    """Return noise with equal power at all frequencies (samples_N)."""
    return rng.standard_normal(number)


def pink(number: int, rng: Rng) -> np.ndarray:
    """Return noise with power inversely proportional to the frequency (samples_N)."""
    return _shaped(number, rng, 0.5)


def brown(number: int, rng: Rng) -> np.ndarray:
    """Return noise with power inversely proportional to the squared frequency, like wind (samples_N)."""
    return _shaped(number, rng, 1.0)


def hum(number: int, rng: Rng) -> np.ndarray:
    """Return mains hum with harmonics (samples_N)."""
    time = np.arange(number) / SAMPLE_RATE
    parts = [np.sin(2 * np.pi * (frequency * time + rng.random())) / frequency for frequency in HUM]
    return np.asarray(np.sum(parts, axis=0))


def clicks(number: int, rng: Rng) -> np.ndarray:
    """Return short bursts at random times, like key strokes or drops (samples_N)."""
    hits = rng.standard_normal(number) * (rng.random(number) < CLICKS / SAMPLE_RATE)
    hits[rng.integers(number)] = 1  # at least one
    burst = rng.standard_normal(SAMPLE_RATE // 50) * np.exp(-np.linspace(0, 5, SAMPLE_RATE // 50))
    return np.convolve(hits, burst)[:number]


def melody(number: int, rng: Rng) -> np.ndarray:
    """Return a sequence of plucked notes (samples_N)."""
    time = np.arange(number) / SAMPLE_RATE
    pitch = rng.choice(NOTES, len(time) // int(NOTE * SAMPLE_RATE) + 1)[(time // NOTE).astype(int)]
    parts = [np.sin(2 * np.pi * pitch * harmonic * time) / harmonic for harmonic in (1, 2, 3, 4, 5)]
    return np.asarray(np.sum(parts, axis=0)) * np.exp(-4 * (time % NOTE) / NOTE)


KINDS: dict[str, Callable[[int, Rng], np.ndarray]] = {
    kind.__name__: kind for kind in (silence, white, pink, brown, hum, clicks, melody)
}
NOISES = ("silence", "white", "pink", "brown", "hum")  # default kinds


def make_non_speech(target: str | Path, seed: int = 0, train: int = 0, kinds: Sequence[str] = NOISES) -> bool:
    """Write a data directory of each kind in each of ``DURATIONS``, and its audio to a folder of ``<target>_audio``.

    Audio of other seeds is kept in its own folder there, since dumps and models may depend on it.

    Args:
        target: data directory.
        seed: random seed.
        train: if positive, write a training set instead: this number of pieces of each kind, with durations drawn from
            ``TRAINING_DURATIONS`` and empty transcripts.
        kinds: kinds of sound, from ``KINDS``.

    Returns:
        Whether anything was written; False if the target is complete.

    Raises:
        DataError: if a kind is unknown or ``train`` is negative.
    """
    if train < 0:
        raise DataError(f"train: found {train}, expected a number of pieces, or 0 for a test set")
    if unknown := set(kinds) - KINDS.keys():
        raise DataError(f"kinds: found {sorted(unknown)}, expected some of {' '.join(KINDS)}")
    rng = np.random.default_rng([seed, train])  # training and test sets differ
    durations = np.round(rng.uniform(*TRAINING_DURATIONS, train), 2).tolist() if train else DURATIONS
    span = (*TRAINING_DURATIONS, train) if train else DURATIONS
    fingerprint = f"non_speech {seed} {span} {LEVEL} {PEAK} {' '.join(kinds)}\n"
    if is_made(target, fingerprint):
        return False
    check_target(target)
    audio = (
        Path(f"{target}_audio") / hashlib.sha256(fingerprint.encode()).hexdigest()[:8]
    )  # a different seed has a different path
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
    """Return noise with amplitude proportional to a power of the frequency, above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(number))
    frequencies = np.maximum(np.fft.rfftfreq(number, 1 / SAMPLE_RATE), 20)
    return np.fft.irfft(spectrum / frequencies**exponent, number)


def _at_level(samples_N: np.ndarray) -> np.ndarray:
    """Return the samples scaled to ``LEVEL``, or to the highest level without clipping."""
    power, peak = np.sqrt(np.mean(samples_N**2)), np.abs(samples_N).max()
    return samples_N * min(10 ** (LEVEL / 20) / power, PEAK / peak) if power > 0 else samples_N

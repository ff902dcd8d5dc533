"""Augmentation of a data directory with reverberation, noise and codec compression.

The copies serve for training and for tests of robustness: synthetic or studio speech is cleaner than most real speech.
The random values of an utterance depend on its id and the seed, so a copy is reproducible.
"""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from speechllm.data.audio.formats import SUFFIXES
from speechllm.data.audio.read import read_audio
from speechllm.data.audio.resample import resample
from speechllm.data.config import AugmentOptions
from speechllm.data.derive._changed_audio import SAMPLE_RATE, copy_changed
from speechllm.data.derive.non_speech import brown, hum, pink, white
from speechllm.data.kaldi.target import marker
from speechllm.errors import DataError
from speechllm.interfaces import Seconds
from speechllm.provenance import files_fingerprint

DIRECT = 3.0
"""Ratio of the energy of the direct sound to that of the reverberation (dB)."""
BLOCK = 10 * SAMPLE_RATE
"""Samples per write; libsndfile keeps a Vorbis block on the stack, and minutes of speech overflow it."""
MOST_PRESSED = 0.9
"""Highest compression level of soundfile (0 to 1); at 1 libsndfile writes no MP3."""

Noise = Callable[[int, np.random.Generator], np.ndarray]
"""Returns a number of noise samples_N, at any level."""


class Codec(NamedTuple):
    """Arguments of soundfile, and the sampling rate of the codec (Hz)."""

    format: str
    subtype: str
    sample_rate: int


CODECS = {
    "mp3": Codec("MP3", "MPEG_LAYER_III", SAMPLE_RATE),
    "vorbis": Codec("OGG", "VORBIS", SAMPLE_RATE),
    "opus": Codec("OGG", "OPUS", SAMPLE_RATE),
    "gsm": Codec("WAV", "GSM610", 8000),
    "ulaw": Codec("WAV", "ULAW", 8000),
}


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of every utterance, in the order of the fields; None or () leaves a step out."""

    speeds: tuple[float, ...] = field(default=(), repr=False)
    """Speeds to draw one from."""
    reverberation: tuple[Seconds, Seconds] | None = None
    """Least and greatest reverberation time RT60 (seconds)."""
    snr: tuple[float, float] | None = None
    """Least and greatest signal-to-noise ratio over the whole utterance (dB)."""
    noise_dir: Path | None = None
    """Folder of noise recordings, such as MUSAN's; None: white, pink and brown noise and mains hum."""
    codecs: tuple[str, ...] = ()
    """Codecs to draw one from; the compression level is drawn as well."""
    seed: int = 0
    """Random seed."""
    probability: float = field(default=1.0, repr=False)
    """Probability of each step except the speed."""

    @classmethod
    def of(cls, options: AugmentOptions) -> "Augmentation":
        """Return the augmentation that an experiment configures."""
        return cls(
            speeds=options.speeds,
            reverberation=(options.reverberation[0], options.reverberation[1]) if options.reverberation else None,
            snr=(options.snr[0], options.snr[1]) if options.snr else None,
            noise_dir=None if options.noise_dir is None else Path(options.noise_dir),
            codecs=options.codecs,
            seed=options.seed,
            probability=options.probability,
        )

    def __str__(self) -> str:
        """Return the settings; later fields only if not at their defaults, so that old fingerprints stay valid."""
        added = f" {self.speeds} {self.probability:g}" if self.speeds or self.probability < 1 else ""
        return f"{self!r}{added}"

    def __post_init__(self) -> None:
        if self.snr is None and self.reverberation is None and not self.codecs and not self.speeds:
            raise DataError("augment: found no step, expected at least one; give --snr, --reverberation or --codecs")
        for name, values in (("snr", self.snr), ("reverberation", self.reverberation)):
            if values is not None and not values[0] <= values[1]:
                raise DataError(f"augment: --{name}: found {values[0]:g} {values[1]:g}, expected the smaller first")
        if self.noise_dir is not None and self.snr is None:
            raise DataError(
                "augment: --noise_dir: found no --snr, expected the level of the noise; give e.g. --snr 5 20"
            )
        if self.reverberation is not None and self.reverberation[0] <= 0:
            raise DataError(f"augment: --reverberation: found {self.reverberation[0]:g} seconds, expected more than 0")
        for codec in set(self.codecs) - CODECS.keys():
            raise DataError(f"augment: --codecs: found {codec!r}, expected some of {', '.join(CODECS)}")


def augment(source: str | Path, target: str | Path, augmentation: Augmentation, prefix: str = "aug") -> bool:
    """Write an augmented copy of ``source``, and its audio to ``<target>_audio``; ids get the prefix ``<prefix>-``.

    Returns:
        Whether anything was written; False if the target is complete.

    Raises:
        DataError: if ``noise_dir`` has no noise recordings, or a file cannot be read.
    """
    by = f"augment {prefix} {augmentation} {files_fingerprint(_noise_files(augmentation))}"
    return copy_changed(source, target, prefix, Augmenter(augmentation), by=by)


def is_augmented(data_dir: Path) -> bool:
    """Return whether a data directory was written by ``augment``."""
    file = marker(data_dir)
    return file.is_file() and file.read_text(encoding="utf-8").startswith("augment ")


class Augmenter:
    """Applies an augmentation to samples.

    Raises:
        DataError: if ``noise_dir`` has no noise recordings.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        self._options = augmentation
        self._noises: list[Noise] = [functools.partial(_cut, path) for path in _noise_files(augmentation)]
        self._noises = self._noises or [white, pink, brown, hum]

    def __call__(self, samples_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return augmented samples_N at 16 kHz; ``rng`` is the utterance's own."""
        options = self._options
        rng = np.random.default_rng([options.seed, int(rng.integers(2**32))])
        if options.speeds:
            speed = options.speeds[rng.integers(len(options.speeds))]
            samples_N = resample(samples_N, round(SAMPLE_RATE * speed), SAMPLE_RATE)
        if options.reverberation is not None and self._is_drawn(rng):
            samples_N = reverberate(samples_N, rng.uniform(*options.reverberation), rng)
        if options.snr is not None and self._is_drawn(rng):
            noise_N = self._noises[rng.integers(len(self._noises))](len(samples_N), rng)
            samples_N = add_noise(samples_N, noise_N, rng.uniform(*options.snr))
        if options.codecs and self._is_drawn(rng):
            name = options.codecs[rng.integers(len(options.codecs))]
            samples_N = through_codec(samples_N, CODECS[name], rng.uniform(0, MOST_PRESSED))
        return samples_N.astype(np.float32)

    def _is_drawn(self, rng: np.random.Generator) -> bool:
        return self._options.probability == 1 or rng.random() < self._options.probability


def reverberate(samples_N: np.ndarray, duration: Seconds, rng: np.random.Generator) -> np.ndarray:
    """Return samples_N with reverberation, at the level of the input.

    The room impulse response is the direct sound followed by noise that decays by 60 dB in ``duration`` (Polack, 1988).
    """
    number = max(2, round(duration * SAMPLE_RATE))
    response_N = rng.standard_normal(number) * 10 ** (-3 * np.arange(number) / number)
    response_N[0] = 0
    response_N *= 10 ** (-DIRECT / 20) / np.linalg.norm(response_N)
    response_N[0] = 1
    size = 1 << (len(samples_N) + number).bit_length()  # a power of two, for fast transforms
    spectrum = np.fft.rfft(samples_N, size) * np.fft.rfft(response_N, size)
    heard_N = np.fft.irfft(spectrum, size)[: len(samples_N)]
    return heard_N * (_level(samples_N) / max(_level(heard_N), 1e-9))


def add_noise(samples_N: np.ndarray, noise_N: np.ndarray, snr: float) -> np.ndarray:
    """Return samples_N with added noise at a signal-to-noise ratio of ``snr`` dB over the whole signal."""
    return samples_N + noise_N * (_level(samples_N) / max(_level(noise_N), 1e-9) * 10 ** (-snr / 20))


def through_codec(samples_N: np.ndarray, codec: Codec, pressed: float) -> np.ndarray:
    """Return samples_N after encoding and decoding with a codec, with the same length.

    ``pressed`` is the compression level, from 0, of codecs that have one.
    """
    options = {} if codec.format == "WAV" else {"compression_level": pressed}
    sent_N = resample(samples_N.astype(np.float32), SAMPLE_RATE, codec.sample_rate)
    sent_N = sent_N / max(1.0, np.abs(sent_N).max())  # beyond full scale it would be clipped
    with tempfile.NamedTemporaryFile() as file:  # libsndfile 1.2 opens an MP3 in memory only if it begins with a tag
        with soundfile.SoundFile(
            file.name, "w", codec.sample_rate, 1, codec.subtype, format=codec.format, **options
        ) as encoder:
            for start in range(0, len(sent_N), BLOCK):
                encoder.write(sent_N[start : start + BLOCK])
        heard_N, rate = soundfile.read(file.name, dtype="float32")
    heard_N = resample(heard_N, rate, SAMPLE_RATE)[: len(samples_N)]
    return np.pad(heard_N, (0, len(samples_N) - len(heard_N)))


def _level(samples_N: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples_N, dtype=np.float64))))


def _noise_files(augmentation: Augmentation) -> list[Path]:
    """Return the noise recordings; an empty list if noise is synthetic."""
    folder = augmentation.noise_dir
    if folder is None:
        return []
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"augment: --noise_dir {folder}: found no audio file, expected noise recordings")
    return paths


def _cut(path: Path, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return samples_N of a recording from a random position, repeated from its start if it is too short."""
    samples_N = read_audio(path, SAMPLE_RATE)
    return np.resize(np.roll(samples_N, -int(rng.integers(len(samples_N)))), number)

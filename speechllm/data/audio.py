"""Audio files, in any format that libsndfile reads: how long they are, and their samples.

A file that ends too early is an error, never shorter speech.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from speechllm.atomic import new_file
from speechllm.data.truncation import missing_end, missing_end_mp3
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

SUFFIXES = frozenset({".flac", ".wav", ".opus", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".au", ".caf", ".sph", ".w64"})
"""Names of audio files end so, in lower case."""


def audio_duration(path: str | Path) -> Seconds:
    """Return the duration of a file of one channel, whose end is known to be there.

    It is told by the header; an MP3 is decoded, as most do not state their length.

    Raises:
        DataError: if the file is missing, unreadable, empty, truncated or of several channels.
    """
    with _open(Path(path)) as file:
        if file.format == "MP3":
            return len(_decode_mp3(file, Path(path))) / file.samplerate
        _check_end(file, Path(path))
        return file.frames / file.samplerate


def expected_duration(path: str | Path) -> Seconds:
    """Return what the header of a file says of its duration, or 0 where nothing can be learnt: for progress bars."""
    try:
        return float(soundfile.info(str(path)).duration)
    except soundfile.LibsndfileError:
        return 0.0


def read_audio(path: str | Path, sample_rate: int, start: Seconds = 0.0, end: Seconds | None = None) -> np.ndarray:
    """Read one channel of audio, or the segment of it from ``start`` to ``end``.

    A segment is sought, not decoded up to, save in MP3 and Vorbis, where libsndfile's seeking is not
    exact. The segment of an Opus file differs from the same part of the whole file, decoded, by less
    than 0.01, because the codec has a memory. Another rate is converted by torchaudio's windowed-sinc
    interpolation (Kaiser window, beta 14.77, 64 zero crossings a side, cut off at 0.9476 of the lower
    Nyquist frequency) of the segment's own samples: N becomes ceil(N * sample_rate / rate).

    Args:
        path: the file.
        sample_rate: of the result, in Hz.
        start: of the segment.
        end: of the segment; None: the end of the file.

    Returns:
        samples_N, float32, full scale being 1.

    Raises:
        DataError: if the file is missing, unreadable, empty, truncated or of several channels, or if the
            segment does not lie in it.
    """
    with open_audio(path, sample_rate) as read:
        return read(start, end)


@contextmanager
def open_audio(path: str | Path, sample_rate: int) -> Iterator[Callable[[Seconds, Seconds | None], np.ndarray]]:
    """Open a file once for all of its segments: yield what reads one, from start to end, as ``read_audio`` does.

    Raises:
        DataError: as ``read_audio``; after one about a segment others can still be read.
    """
    path = Path(path)
    with _open(path) as file:
        whole_N = None
        if file.format == "MP3":
            whole_N = _decode_mp3(file, path)
        else:
            _check_end(file, path)

        def read(start: Seconds, end: Seconds | None) -> np.ndarray:
            first, last = _bounds(path, start, end, file.samplerate, file.frames if whole_N is None else len(whole_N))
            samples_N = _read_part(file, path, first, last) if whole_N is None else whole_N[first:last]
            return resample(finite(samples_N, path), file.samplerate, sample_rate)

        yield read


def read_blocks(path: str | Path, block: Seconds) -> Iterator[tuple[np.ndarray, int]]:
    """Read a file from front to end, its channels mixed by their mean: yield blocks of samples_N and their rate.

    Args:
        path: the file, of any length: no more than a block is held in memory.
        block: seconds of each block, save the last.

    Raises:
        DataError: if the file is missing, unreadable, empty or truncated; of an MP3 this is known at its end only.
    """
    path = Path(path)
    with _open(path, mono=False) as file:
        if file.format != "MP3":
            _check_end(file, path)
            file.seek(0)
        num_samples = 0
        while len(samples_NC := file.read(round(block * file.samplerate), dtype="float32", always_2d=True)):
            num_samples += len(samples_NC)
            yield finite(samples_NC.mean(1), path), file.samplerate
        if file.format == "MP3" and (found := missing_end_mp3(file, path, num_samples)):
            raise _truncated(path, found)
        if file.format != "MP3" and num_samples != file.frames:
            raise _truncated(path, f"{num_samples} samples, expected {file.frames}")


def write_audio(stem: Path, samples_N: np.ndarray, sample_rate: int) -> Path:
    """Write one channel, whole or not at all, as FLAC of 16 bits, or as WAV where that would clip; return its path.

    Args:
        stem: path without ``.flac`` or ``.wav``; dots in it are kept.
        samples_N: full scale being 1, beyond which resampling and decoding may go.
        sample_rate: in Hz.
    """
    clips = bool(np.abs(samples_N).max() > 1)
    path = stem.with_name(stem.name + (".wav" if clips else ".flac"))
    form = {"format": "WAV", "subtype": "FLOAT"} if clips else {"format": "FLAC", "subtype": "PCM_16"}
    with new_file(path) as temporary:
        soundfile.write(temporary, samples_N, sample_rate, **form)
    return path


def resample(samples_N: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Return samples_N of ``rate`` at ``sample_rate``, both in Hz, as ``read_audio`` converts them."""
    return samples_N if rate == sample_rate else _resampler(rate, sample_rate)(samples_N)


def finite(samples: np.ndarray, source: str | Path) -> np.ndarray:
    """Return ``samples``, none of which is NaN or infinite.

    Raises:
        DataError: if one is.
    """
    if not np.isfinite(samples).all():
        raise DataError(f"{source}: found samples that are NaN or infinite; repair or remove the file")
    return samples


def _read_part(file: soundfile.SoundFile, path: Path, first: int, last: int) -> np.ndarray:
    """Read the samples from ``first`` to before ``last``."""
    skipped = first if file.subtype == "VORBIS" else 0
    with _errors_named(path):
        file.seek(first - skipped)
        samples_N = file.read(skipped + last - first, dtype="float32")[skipped:]
    if len(samples_N) != last - first:
        raise _truncated(path, f"{len(samples_N)} samples from sample {first} on, expected {last - first}")
    return samples_N


@contextmanager
def _open(path: Path, *, mono: bool = True) -> Iterator[soundfile.SoundFile]:
    """Open a file, of one channel if ``mono``; whatever libsndfile says of it until it is closed is a DataError."""
    if not path.is_file():
        raise DataError(f"{path}: no such audio file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes), expected audio; get it again")
    if path.suffix.lower() == ".raw":
        raise DataError(f"{path}: found samples without a header, expected e.g. WAV or FLAC; convert the file")
    with _errors_named(path), soundfile.SoundFile(path) as file:
        if mono and file.channels != 1:
            raise DataError(f"{path}: found {file.channels} channels, expected 1; split or mix them first")
        if file.frames == 0:
            raise DataError(f"{path}: empty or truncated: the file holds no samples; get it again")
        yield file


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Make a DataError of what libsndfile says."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"{path}: truncated, damaged or no audio: libsndfile says {error.error_string!r}; get the file again"
        ) from error


def _decode_mp3(file: soundfile.SoundFile, path: Path) -> np.ndarray:
    """Decode a whole MP3: only then is it known how long it is."""
    samples_N = file.read(dtype="float32")
    if found := missing_end_mp3(file, path, len(samples_N)):
        raise _truncated(path, found)
    return samples_N


def _check_end(file: soundfile.SoundFile, path: Path) -> None:
    if found := missing_end(file, path):
        raise _truncated(path, found)


def _truncated(path: Path, found: str) -> DataError:
    return DataError(f"{path}: truncated or damaged: found {found}; get the file again, or convert it from its source")


def _bounds(path: Path, start: Seconds, end: Seconds | None, rate: int, num_samples: int) -> tuple[int, int]:
    """Return the first sample of a segment and the one behind its last."""
    first = round(start * rate)
    last = num_samples if end is None else round(end * rate)
    if not 0 <= first < last <= num_samples:
        until = "the end" if end is None else f"{end} s"
        raise DataError(
            f"{path}: found a segment from {start} s to {until}, expected one within the {num_samples / rate} s "
            "of audio; correct `segments`"
        )
    return first, last


@functools.lru_cache(maxsize=8)
def _resampler(rate: int, sample_rate: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return what converts samples_N; torch is imported only where there is something to convert."""
    import torch
    from torchaudio.transforms import Resample

    resample = Resample(
        rate,
        sample_rate,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
    return lambda samples_N: resample(torch.from_numpy(samples_N)).numpy()

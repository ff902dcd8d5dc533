"""Durations and samples of audio files, in any format that libsndfile reads.

A truncated file is an error, never shorter speech.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speechllm.data.audio.formats import foreign_format
from speechllm.data.audio.resample import HIGHEST_RATE, LOWEST_RATE, resample
from speechllm.data.audio.streams import check_single_flac, split_streams
from speechllm.data.audio.truncation import missing_end, missing_end_mp3
from speechllm.errors import DataError
from speechllm.interfaces import Seconds


def audio_duration(path: str | Path) -> Seconds:
    """Return the duration of a mono file, after checking that it is not truncated.

    The header states the duration; an MP3 is decoded, as most do not state their length. The durations of streams
    concatenated in one file (MP3, chained Ogg) are added.

    Raises:
        DataError: if the file is missing, unreadable, empty, truncated or of several channels.
    """
    with _open(Path(path)) as streams:
        num_samples = 0
        for stream in streams:
            stream.check_end()
            num_samples += len(stream.decode()) if stream.file.format == "MP3" else stream.file.frames
        return num_samples / streams[0].file.samplerate


def stated_duration(path: str | Path) -> Seconds:
    """Return the duration stated by the headers, for any number of channels; for an MP3 it may be an estimate.

    Raises:
        DataError: if the file cannot be opened as audio.
    """
    with _open(Path(path), mono=False) as streams:
        return sum(stream.file.frames for stream in streams) / streams[0].file.samplerate


def read_audio(path: str | Path, sample_rate: int, start: Seconds = 0.0, end: Seconds | None = None) -> np.ndarray:
    """Read a mono file, or its segment from ``start`` to ``end``.

    The reader seeks to a segment, except in MP3 and Vorbis files: they are decoded up to it, because libsndfile's
    seeking is not exact there. A segment of an Opus file differs from the same part of the decoded whole file by less
    than 0.01, because the codec has a memory. Other rates are converted by ``speechllm.data.audio.resample`` from the
    samples of the segment alone: N becomes ceil(N * sample_rate / rate).

    Args:
        path: audio file.
        sample_rate: rate of the result (Hz).
        start: start of the segment.
        end: end of the segment; None: the end of the file.

    Returns:
        samples_N, float32, with full scale 1.

    Raises:
        DataError: if the file is missing, unreadable, empty, truncated or of several channels, or if the
            segment is not inside it.
    """
    with open_audio(path, sample_rate) as read:
        return read(start, end)


@contextmanager
def open_audio(path: str | Path, sample_rate: int) -> Iterator[Callable[[Seconds, Seconds | None], np.ndarray]]:
    """Open a file once for all its segments, and yield a function that reads one, as ``read_audio`` does.

    Raises:
        DataError: as ``read_audio``; after the error of one segment, others can still be read.
    """
    path = Path(path)
    with _open(path) as streams:
        rate = streams[0].file.samplerate
        for stream in streams:
            stream.check_end(is_read=True)
        is_sought = len(streams) == 1 and streams[0].file.format != "MP3"
        whole_N = None if is_sought else np.concatenate([stream.decode() for stream in streams])
        num_samples = streams[0].file.frames if whole_N is None else len(whole_N)

        def read(start: Seconds, end: Seconds | None) -> np.ndarray:
            first, last = _bounds(path, start, end, rate, num_samples)
            samples_N = streams[0].read(first, last) if whole_N is None else whole_N[first:last]
            return resample(finite(samples_N, path), rate, sample_rate)

        yield read


def read_blocks(path: str | Path, block: Seconds) -> Iterator[tuple[np.ndarray, int]]:
    """Read a file from start to end and yield blocks of samples_N, the mean of the channels, with their rate.

    Args:
        path: audio file of any length: only one block is held in memory.
        block: duration of each block except the last.

    Raises:
        DataError: if the file is missing, unreadable, empty or truncated; in an MP3 this is found only at its end.
    """
    path = Path(path)
    with _open(path, mono=False) as streams:
        for stream in streams:
            stream.check_end(is_read=True)
        for stream in streams:
            for samples_NC in stream.blocks(block):
                yield finite(samples_NC.mean(1), path), stream.file.samplerate


def finite(samples: np.ndarray, source: str | Path) -> np.ndarray:
    """Return ``samples`` after checking that none is NaN or infinite.

    Raises:
        DataError: if a sample is.
    """
    if not np.isfinite(samples).all():
        raise DataError(f"{source}: found samples that are NaN or infinite; repair or remove the file")
    return samples


class _SoundFile(soundfile.SoundFile):
    """A file without soundfile's seek after each read, which loses samples in an MP3."""

    def seekable(self) -> bool:
        """Return False, so that soundfile does not seek on its own; ``seek`` still works."""
        return False


@dataclass
class _Stream:
    """One stream of a file; nearly all files have only one."""

    path: Path
    source: Path
    """The file, or a temporary file with the stream alone."""
    file: soundfile.SoundFile

    def check_end(self, *, is_read: bool = False) -> None:
        """Raise a DataError if the end is missing; an MP3 must be decoded for this check.

        Args:
            is_read: whether all bytes are read anyway, so that a second FLAC file after the first can be found.
        """
        if is_read and self.file.format == "FLAC":
            check_single_flac(self.source)
        if self.file.format != "MP3":
            if found := missing_end(self.file, self.source):
                raise _truncated(self.path, found)
            self.file.seek(0)

    def decode(self) -> np.ndarray:
        """Return all samples_N of a mono stream."""
        return np.concatenate([np.zeros(0, np.float32), *(block_NC[:, 0] for block_NC in self.blocks(60.0))])

    def blocks(self, block: Seconds) -> Iterator[np.ndarray]:
        """Yield all samples_NC, ``block`` seconds at a time."""
        num_samples = 0
        while len(samples_NC := self.file.read(round(block * self.file.samplerate), dtype="float32", always_2d=True)):
            num_samples += len(samples_NC)
            yield samples_NC
        if self.file.format == "MP3":
            if found := missing_end_mp3(self.file, self.source, num_samples):
                raise _truncated(self.path, found)
        elif num_samples != self.file.frames:
            raise _truncated(self.path, f"{num_samples} samples, expected {self.file.frames}")

    def read(self, first: int, last: int) -> np.ndarray:
        """Return samples_N from ``first`` up to, but excluding, ``last``."""
        skipped = first if self.file.subtype == "VORBIS" else 0
        with _errors_named(self.path):
            self.file.seek(first - skipped)
            samples_N = self.file.read(skipped + last - first, dtype="float32")[skipped:]
        if len(samples_N) != last - first:
            raise _truncated(self.path, f"{len(samples_N)} samples from sample {first} on, expected {last - first}")
        return samples_N


@contextmanager
def _open(path: Path, *, mono: bool = True) -> Iterator[list[_Stream]]:
    """Open the streams of a file, mono if ``mono``; libsndfile's errors inside the context become DataErrors."""
    _check_file(path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_errors_named(path))
        sources = [path]
        if parts := split_streams(path):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            sources = [folder / str(number) for number in range(len(parts))]
            for source, part in zip(sources, parts, strict=True):
                source.write_bytes(part)
        streams = [_Stream(path, source, stack.enter_context(_SoundFile(os.fsencode(source)))) for source in sources]
        if not any(stream.file.frames for stream in streams):
            raise DataError(f"{path}: empty or truncated: the file holds no samples; get it again")
        found = {(stream.file.samplerate, stream.file.channels) for stream in streams}
        if len(found) > 1:
            kinds = ", ".join(f"{rate} Hz and {channels} channels" for rate, channels in sorted(found))
            raise DataError(f"{path}: found streams of several kinds ({kinds}), expected one; convert the file")
        rate = streams[0].file.samplerate
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise DataError(f"{path}: found {rate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE} Hz; repair the header")
        if mono and (channels := streams[0].file.channels) != 1:
            raise DataError(f"{path}: found {channels} channels, expected 1; split or mix them first")
        yield streams


def _check_file(path: Path) -> None:
    """Raise a DataError unless the path is a file that may hold audio."""
    try:
        size = path.stat().st_size
        is_file = path.is_file()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte in the name
        raise DataError(f"{path}: no such audio file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}), expected an audio file") from error
    if not is_file:
        raise DataError(f"{path}: no such audio file: found a folder, pipe, socket or device, expected a file")
    if size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes), expected audio; get it again")
    if path.suffix.lower() == ".raw":
        raise DataError(f"{path}: found samples without a header, expected e.g. WAV or FLAC; convert the file")


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Convert an error of libsndfile, or of reading the file, to a DataError that names the file."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        if reason := foreign_format(path):
            raise DataError(f"{path}: cannot be read: {reason}") from error
        raise DataError(
            f"{path}: truncated, damaged or no audio: libsndfile reports {error.error_string!r}; get the file again"
        ) from error


def _truncated(path: Path, found: str) -> DataError:
    return DataError(f"{path}: truncated or damaged: found {found}; get the file again, or convert it from its source")


def _bounds(path: Path, start: Seconds, end: Seconds | None, rate: int, num_samples: int) -> tuple[int, int]:
    """Return the first sample of a segment and the one after its last."""
    first = round(start * rate)
    last = num_samples if end is None else round(end * rate)
    if not 0 <= first < last <= num_samples:
        until = "the end" if end is None else f"{end} s"
        raise DataError(
            f"{path}: found a segment from {start} s to {until}, expected one within the {num_samples / rate} s "
            "of audio; correct `segments`"
        )
    return first, last

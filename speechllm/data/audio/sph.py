"""NIST SPHERE files of telephone conversations, split into one FLAC file per channel."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from speechllm.data.audio.write import write_flac
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

_HEADER = 1024  # bytes; all fields read here are in this part


def split_channels(path: Path, folder: Path) -> tuple[list[Path], Seconds]:
    """Write each channel to ``folder/<stem>-A.flac``, ``-B.flac``, ... in 16 bits, which holds mu-law without loss.

    A file compressed with shorten, such as some of LDC's, is uncompressed with sph2pipe if that is installed.

    Returns:
        The files and their duration.

    Raises:
        DataError: if the file is missing, truncated or not a SPHERE file, or needs sph2pipe, which is not installed.
    """
    count, coding = _read_header(path)
    if "shorten" in coding:
        samples_NC, rate = _uncompress(path)
    else:
        samples_NC, rate = _read(path)
    if len(samples_NC) != count:
        raise DataError(
            f"{path}: truncated: found {len(samples_NC)} samples per channel, expected {count} by its header"
        )
    files = []
    for number, samples_N in enumerate(samples_NC.T):
        files.append(write_flac(folder / f"{path.stem}-{chr(ord('A') + number)}.flac", samples_N, rate))
    return files, count / rate


def _read_header(path: Path) -> tuple[int, str]:
    """Return the number of samples per channel and their coding."""
    if not path.is_file():
        raise DataError(f"{path}: no such audio file")
    with path.open("rb") as file:
        lines = file.read(_HEADER).decode("ascii", errors="replace").split("\n")
    fields = {words[0]: words[2] for words in map(str.split, lines) if len(words) == 3}
    if lines[0] != "NIST_1A" or not fields.get("sample_count", "").isdecimal():
        raise DataError(f"{path}: no SPHERE file: found no NIST_1A and sample_count at its beginning; get it again")
    return int(fields["sample_count"]), fields.get("sample_coding", "pcm")


def _read(path: Path) -> tuple[np.ndarray, int]:
    try:
        return soundfile.read(path, dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: damaged: libsndfile reports {error.error_string!r}; get the file again") from error


def _uncompress(path: Path) -> tuple[np.ndarray, int]:
    program = shutil.which("sph2pipe")
    if program is None:
        raise DataError(
            f"{path}: compressed with shorten, expected uncompressed samples; install sph2pipe "
            "(https://www.openslr.org/3)"
        )
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.sph"
        result = subprocess.run(
            [program, "-f", "sph", "-p", str(path), str(plain)], capture_output=True, text=True, check=False
        )
        if result.returncode or not plain.is_file():
            raise DataError(f"{path}: damaged: sph2pipe reports {result.stderr.strip()!r}; get the file again")
        return _read(plain)

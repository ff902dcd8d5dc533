"""Audio inputs of a command line: files, folders, pipes and standard input."""

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechllm.data.audio.formats import SUFFIXES, left_out
from speechllm.data.context import join_contexts
from speechllm.data.files import entries_below
from speechllm.errors import ConfigError, DataError
from speechllm.inference.transcript import Transcript
from speechllm.interfaces import Seconds

STDIN = "-"
_STDIN_PATHS = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_LONGEST_NAME = 200  # bytes: most file systems allow 255, and names of temporary files are longer
_PATIENCE: Seconds = 5.0
"""Time limit for a program to open a named pipe for writing."""


@dataclass(frozen=True)
class Input:
    """A recording to transcribe."""

    name: str
    """Name on the command line: ``-`` or a path; it is the source in transcripts and messages."""
    path: Path
    """File to read; for a pipe, its temporary copy."""
    result: Path
    """Relative path of the transcript, without suffix."""
    is_renamed: bool = False
    """Whether ``result`` differs from the name of the file because that is too long or not UTF-8."""

    def named(self, result: Transcript | DataError) -> Transcript | DataError:
        """Return ``result`` with ``name`` in place of ``path``."""
        if isinstance(result, Transcript):
            return replace(result, source=self.name)
        return DataError(str(result).replace(str(self.path), self.name))


@contextlib.contextmanager
def find_inputs(names: Sequence[str]) -> Iterator[tuple[list[Input], list[DataError]]]:
    """Yield the recordings of ``names``, and the errors of unreadable inputs.

    Pipes and standard input are copied to temporary files, which are removed at the end of the block. Within folders,
    pipes, devices, broken links and files of unreadable formats are errors, and are not opened.

    Raises:
        ConfigError: if a folder contains neither audio nor video.
    """
    found: dict[str, Input] = {}
    errors: list[DataError] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            path = Path(name)
            try:
                if _is_folder(path):
                    found |= {one.name: one for one in _inside(path, errors)}
                else:
                    found[str(path)] = _named_file(str(path), Path(folder) / str(number))
            except DataError as error:
                errors.append(error)
        yield list(found.values()), errors


def read_context(path: Path) -> str:
    """Return the lines of a file, separated by commas, as a context.

    Raises:
        DataError: if the file cannot be read as UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"--context_file {path}: cannot be read: {error}; expected a text file in UTF-8") from error
    return join_contexts(line.strip() for line in lines)


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.is_dir()
    return False


def _inside(folder: Path, errors: list[DataError]) -> list[Input]:
    """Return the recordings in a folder; append an error for each unreadable entry to ``errors``."""
    found = []
    count = len(errors)
    for path in entries_below(folder):
        if reason := left_out(path):
            errors.append(DataError(f"{path}: left out: {reason}"))
        elif path.suffix.lower() in SUFFIXES:
            found.append(_input(str(path), path, path.relative_to(folder).with_suffix("")))
    if not found and len(errors) == count:
        raise ConfigError(
            f"{folder}: found no audio file in this folder, expected one of {', '.join(sorted(SUFFIXES))}"
        )
    return found


def _named_file(name: str, copies: Path) -> Input:
    """Return the recording of a file, or of a pipe after copying it to the folder ``copies``.

    Raises:
        DataError: if ``name`` is a device or socket, or a pipe without data.
    """
    path = Path(name)
    if name == STDIN or name in _STDIN_PATHS:
        copy = copies / "stdin"
        copies.mkdir()
        with copy.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        return Input(name, copy, Path("stdin"))
    mode = 0
    with contextlib.suppress(OSError, ValueError):  # a missing file is reported when it is opened
        mode = path.stat().st_mode
    if stat.S_ISFIFO(mode):
        copies.mkdir()
        copy = copies / path.name
        _copy_pipe(path, copy)
        return _input(name, copy, Path(path.stem))
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise DataError(f"{path}: left out: a device or socket, expected a file, pipe or folder")
    return _input(name, path, Path(path.stem))


def _copy_pipe(path: Path, copy: Path) -> None:
    """Copy a pipe to its end; it is opened without waiting, to detect a pipe without a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as pipe, copy.open("wb") as file:
        last = time.monotonic() + _PATIENCE
        while (first := pipe.read(1)) == b"":  # None: there is a writer, but no data yet
            if time.monotonic() > last:
                raise DataError(
                    f"{path}: the pipe is empty, found no program that writes to it within {_PATIENCE:g} s; start the "
                    "program first"
                )
            time.sleep(0.02)
        os.set_blocking(descriptor, True)
        file.write(first or b"")
        shutil.copyfileobj(pipe, file)


def _input(name: str, path: Path, result: Path) -> Input:
    safe = Path(*map(_safe_name, result.parts))
    return Input(name, path, safe, is_renamed=safe != result)


def _safe_name(name: str) -> str:
    """Return ``name``; if it is too long for a suffix or not UTF-8, a corrected name with a hash of ``name``."""
    raw = os.fsencode(name)
    text = raw.decode("utf-8", errors="replace").replace("\ufffd", "_")
    if len(raw) <= _LONGEST_NAME and os.fsencode(text) == raw:
        return name
    cut = text.encode()[: _LONGEST_NAME - 9].decode("utf-8", errors="ignore")
    return f"{cut}-{hashlib.sha256(raw).hexdigest()[:8]}"

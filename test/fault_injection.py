"""Run a function in a child process that is killed, or has a full disk, at its k-th file operation.

The operations are those of Python's audit events, so that the standard library's own calls are counted, too; writes of
open files are counted by wrapping ``os.write`` and the file classes of ``io``.
"""

import builtins
import errno
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm import atomic

EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime"}
)
KILLED = 99


@dataclass(frozen=True)
class Outcome:
    """The end of a child process."""

    status: int
    """Exit status; ``KILLED`` if it was killed at the operation."""
    said: str
    """Standard error."""


def run(function: Callable[[], int], folder: Path, *, kill_at: int = 0, full_at: int = 0) -> Outcome:
    """Call ``function`` in a forked child.

    Args:
        function: returns an exit status.
        folder: only operations on paths below it count.
        kill_at: number of the operation before which the child ends at once, from 1; 0: none.
        full_at: number of the first write on a full disk, from 1; 0: none.
    """
    with tempfile.TemporaryFile() as said:
        if (pid := os.fork()) == 0:
            status = 98
            try:
                sys.stderr = io.TextIOWrapper(said, write_through=True)  # type: ignore[type-var]
                sys.stdout = io.StringIO()
                atomic._remove_abandoned_once.cache_clear()  # as in a process of its own
                os.fsync = lambda descriptor: None  # which takes time, and matters only when the power fails
                if kill_at:
                    _kill(folder, kill_at)
                if full_at:
                    _fill(folder, full_at)
                status = function()
            except OSError as error:
                print(f"OSError: {error}", file=sys.stderr)
                status = 1
            except BaseException as error:  # any other error is to be seen by the test
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            finally:
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        return Outcome(status, said.read().decode(errors="replace"))


def _below(folder: Path, path: object) -> bool:
    """Whether a path is below a folder, or relative to a folder that is open."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    return not Path(os.fsdecode(path)).is_absolute() or os.fsdecode(path).startswith(str(folder))


def _kill(folder: Path, at: int) -> None:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count == at:
            os._exit(KILLED)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in EVENTS and _below(folder, args[0]) and (event != "open" or _writes(args)):
            step()

    sys.addaudithook(hook)
    _wrap_writes(folder, step)
    _wrap(os, "fsync", step)
    exchange = atomic._exchange

    def counted(first: Path, second: Path) -> bool:
        step()
        done = exchange(first, second)
        step()
        return done

    atomic._exchange = counted


def _writes(args: tuple[Any, ...]) -> bool:
    """Whether an ``open`` event is of a file that is written."""
    return bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(args[2], int) else "r" not in args[1]


def _fill(folder: Path, at: int) -> None:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        if count >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shutil._USE_CP_SENDFILE = False
    _wrap_writes(folder, step)


def _wrap(module: Any, name: str, step: Callable[[], None]) -> None:
    original = getattr(module, name)

    def wrapped(*args: Any, **options: Any) -> Any:
        step()
        return original(*args, **options)

    setattr(module, name, wrapped)


def _wrap_writes(folder: Path, step: Callable[[], None]) -> None:
    """Make every file below the folder call ``step`` before each of its writes; flushing at the end is one as well."""
    original = io.open

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            step()
            return super().write(data)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
        if isinstance(file, int) or not _below(folder, file) or not set(mode) & set("wax+"):
            return original(file, mode, buffering, *args, **options)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **options)

    builtins.open = io.open = opened  # type: ignore[assignment]

"""Locks between processes, released when their process ends."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from speechllm.errors import SpeechLLMError

_FILES: set[TextIO] = set()


def _close_inherited() -> None:
    """Close the files of locks in a forked process, which would otherwise hold them after the end of its parent."""
    for file in _FILES:
        file.close()
    _FILES.clear()


os.register_at_fork(after_in_child=_close_inherited)


class LockedError(SpeechLLMError):
    """Another process writes to the same place."""


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Hold a lock on the file ``path`` for the duration of the block.

    The lock is a kernel lock (``flock``), released also when the process is killed. The file is not deleted; it
    contains the machine and process number of the holder of the lock.

    Args:
        path: lock file; its folder is created.
        what: description of the locked resource, for the error: "the experiment exp/fc".

    Raises:
        LockedError: if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise LockedError(
                f"{path}: {what} is in use by {holder}, expected no other process; wait for its end, or stop it"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _FILES.add(file)
        try:
            yield
        finally:
            _FILES.discard(file)
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing alone is not enough: a new child may still have the file open

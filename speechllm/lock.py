"""Locks between processes that end with the process that holds them."""

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
    """Close the files of held locks in a forked process, which would hold the locks beyond the end of its parent."""
    for file in _FILES:
        file.close()
    _FILES.clear()


os.register_at_fork(after_in_child=_close_inherited)


class LockedError(SpeechLLMError):
    """Another process writes to the same place."""


@contextmanager
def exclusive_lock(path: Path, what: str) -> Iterator[None]:
    """Hold a lock on the file ``path`` for the duration of the block.

    The lock is the kernel's (``flock``): a process that is killed releases it, so that no stale lock remains. The file
    itself stays; while the lock is held, it has the holder's machine and process number in it.

    Args:
        path: lock file; its folder is created.
        what: the locked thing, for the error: "the experiment exp/fc".

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
            fcntl.flock(file, fcntl.LOCK_UN)  # not by closing, which a child that was forked just now may delay

"""Files and directories that are either complete or absent.

The name of a temporary file or directory contains the target, the process and the machine. The next process that writes
to the same folder removes the temporary files of killed processes.
"""

import ctypes
import errno
import functools
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)@(?P<host>[^@/]*)\.(?P<kind>tmp|old)", re.DOTALL)
_LONGEST_NAME = 120  # bytes; longer names are hashed, because the name of the temporary file is limited to 255
_ABANDONED = 7 * 24 * 3600  # seconds after which a temporary file of another machine counts as abandoned
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, renamed to ``path`` when the block succeeds.

    Args:
        path: the file; its folder is created.
        sync: whether to flush the content to the disk before the rename, so that a power failure leaves the old or the
            new file; False for many small files that can be computed again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_once(path.parent)
    temporary = _temporary(path, "tmp")
    try:
        yield temporary
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_dir(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory, which replaces the directory ``path`` when the block succeeds.

    Files are flushed to the disk first. The two directories are exchanged in one step if the system supports it;
    otherwise ``recover_dir`` undoes an interrupted replacement. If ``path`` is a symbolic link, its target is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    recover_dir(path)
    temporary = _temporary(path, "tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if not file.is_symlink():
                _sync(file)
        _sync(temporary)
        _replace_dir(temporary, path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_dir(path: Path) -> None:
    """Restore the old directory after a process was killed in ``new_dir``, and remove temporary files."""
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        return
    if not os.path.lexists(path):
        for file in path.parent.iterdir():
            match = _TEMPORARY.fullmatch(file.name)
            if match and match["kind"] == "old" and match["name"] == _short(path.name) and _is_abandoned(file, match):
                file.rename(path)
                break
    remove_abandoned(path.parent)


def is_temporary(name: str) -> bool:
    """Return whether a file name is that of a temporary file of this module."""
    return _TEMPORARY.fullmatch(name) is not None


def _replace_dir(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``, and delete the former directory at ``path``."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        old = _temporary(path, "old")
        path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; return whether the system and the file system support it."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


@functools.cache
def _renameat2() -> "ctypes._NamedFuncPointer | None":
    """Return Linux's system call ``renameat2``; None if the C library lacks it."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function


def _sync(path: Path) -> None:
    """Flush a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _unsupported_ignored():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unsupported_ignored() -> Iterator[None]:
    """Ignore the errors of a file system that cannot flush a directory."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.EBADF, errno.EOPNOTSUPP):
            raise


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".{_short(path.name)}.{os.getpid()}@{_host()}.{kind}")


def _short(name: str) -> str:
    """Return a name, or a hash of a name that is too long."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else hashlib.sha256(encoded).hexdigest()


@functools.cache
def _host() -> str:
    return re.sub("[@/]", "_", socket.gethostname())[:64]


@functools.lru_cache(maxsize=1024)
def _remove_abandoned_once(folder: Path) -> None:
    """Remove abandoned files in a folder, once per process, because a folder may have millions of files."""
    remove_abandoned(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    try:
        files = list(folder.iterdir())
    except PermissionError:  # a folder may be writable and not readable
        return
    for file in files:
        match = _TEMPORARY.fullmatch(file.name)
        if match is None or not _is_abandoned(file, match):
            continue
        if match["kind"] == "old" and not (folder / match["name"]).exists():
            continue  # recover_dir needs it
        with suppress(FileNotFoundError):  # another process may remove it at the same time
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink()


def _is_abandoned(file: Path, match: re.Match[str]) -> bool:
    """Return whether the process of a temporary file has ended; on another machine, its age decides."""
    if match["host"] != _host():
        with suppress(OSError):
            return time.time() - file.stat().st_mtime > _ABANDONED
        return False
    if int(match["pid"]) == os.getpid():
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False

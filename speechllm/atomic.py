"""Files and directories that are either complete or absent.

A temporary file or directory is named after the target, the process and the machine, so that the next process that
writes into the same folder can remove the temporary files of killed processes.
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
_LONGEST_NAME = 120  # bytes; a longer name is hashed in that of the temporary file, which may have 255
_ABANDONED = 7 * 24 * 3600  # seconds after which a temporary file of another machine counts as left by a killed process
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


@contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, renamed to ``path`` when the block succeeds.

    Args:
        path: the file; its folder is created.
        sync: whether the content is on the disk before the rename, so that a power failure leaves the old or the new
            file; False for many small files that can be made again.
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

    The two directories are exchanged in one step where the system can; elsewhere ``recover_dir`` undoes half a
    replacement. Of a symbolic link, the directory that it points to is replaced. All files are on the disk before that.
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
    """Take the old directory back after a process was killed in ``new_dir``, and remove temporary files."""
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
    """Whether a file name is that of a temporary file of this module."""
    return _TEMPORARY.fullmatch(name) is not None


def _replace_dir(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; the directory that was there is deleted."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(new, path):
        old = _temporary(path, "old")
        path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; return whether the system and the file system can."""
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
    """Return Linux's system call, if the C library has it."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function


def _sync(path: Path) -> None:
    """Write a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _unsupported_ignored():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unsupported_ignored() -> Iterator[None]:
    """Ignore that a file system cannot flush a directory."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.EBADF, errno.EOPNOTSUPP):
            raise


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".{_short(path.name)}.{os.getpid()}@{_host()}.{kind}")


def _short(name: str) -> str:
    """Return a name, or a digest of it where a longer name would not fit."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else hashlib.sha256(encoded).hexdigest()


@functools.cache
def _host() -> str:
    return re.sub("[@/]", "_", socket.gethostname())[:64]


@functools.lru_cache(maxsize=1024)
def _remove_abandoned_once(folder: Path) -> None:
    """Remove abandoned files in a folder, which may hold millions, unless this process has done so."""
    remove_abandoned(folder)


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder."""
    try:
        files = list(folder.iterdir())
    except PermissionError:  # files may be written into a folder that must not be listed
        return
    for file in files:
        match = _TEMPORARY.fullmatch(file.name)
        if match is None or not _is_abandoned(file, match):
            continue
        if match["kind"] == "old" and not (folder / match["name"]).exists():
            continue  # for recover_dir
        with suppress(FileNotFoundError):  # another process removes it, too
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink()


def _is_abandoned(file: Path, match: re.Match[str]) -> bool:
    """Return whether no process writes to a temporary file any more."""
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

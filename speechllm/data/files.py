"""Entries of folders, and fingerprints of files."""

import hashlib
import os
from pathlib import Path

_BLOCK = 1 << 20  # bytes


def files_below(folder: Path) -> list[Path]:
    """Return all regular files among ``entries_below``."""
    return [path for path in entries_below(folder) if path.is_file()]


def entries_below(folder: Path) -> list[Path]:
    """Return all entries below a folder, sorted, without readable folders themselves.

    Hidden files and folders (``._a.wav``, ``.git``) are left out. Symbolic links to folders are followed, but each
    folder is read only once, so cycles end.
    """
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    links = [folder]
    while links:
        folders = [links.pop(0)]
        while folders:
            one = folders.pop()
            try:
                stat = one.stat()
                entries = sorted(os.scandir(one), key=lambda entry: entry.name)
            except OSError:
                found.append(one)
                continue
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            seen.add((stat.st_dev, stat.st_ino))
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = one / entry.name
                if not os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for a link to itself)
                    found.append(path)
                else:
                    (links if entry.is_symlink() else folders).append(path)
    return sorted(found)


def md5_of(path: Path) -> str:
    """Return the MD5 checksum of a file in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

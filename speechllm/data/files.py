"""Files that are there: which ones lie in a folder, and a digest that tells whether they have changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 1 << 20  # bytes


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder and its folders, sorted; hidden ones are none of the corpus."""
    return sorted(file for file in folder.rglob("[!.]*") if file.is_file())


def fingerprint(files: Iterable[Path]) -> str:
    """Return a digest that changes with the names, sizes and times of files."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def md5_of(path: Path) -> str:
    """Return the MD5 checksum of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

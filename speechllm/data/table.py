"""Kaldi's text tables: one ``id value`` a line, sorted by id under LC_ALL=C, each id once.

Python orders strings by code point, which for UTF-8 is the byte order that LC_ALL=C means.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from speechllm.data.atomic import new_file
from speechllm.errors import DataError


class Flaw(NamedTuple):
    """What is wrong with one line of a table."""

    line: int
    id: str
    kind: str


def scan_table(path: Path, allow_empty: bool = False) -> tuple[list[tuple[str, str]], list[Flaw]]:
    """Return all lines that can be read, in the order of the file, and all flaws.

    A line that repeats an id or stands in the wrong place is returned all the same.

    Raises:
        DataError: if there is no such file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    lines = path.read_bytes().split(b"\n")
    rows: list[tuple[str, str]] = []
    flaws: list[Flaw] = []
    seen: set[str] = set()
    for number, line in enumerate(lines[:-1] if lines[-1] == b"" else lines, start=1):
        try:
            key, value = [*re.split("[ \t]+", line.decode().strip(" \t\r"), maxsplit=1), ""][:2]
        except UnicodeDecodeError:
            flaws.append(Flaw(number, line.split(b" ")[0].decode(errors="backslashreplace"), "not UTF-8"))
            continue
        if not key or not (value or allow_empty):
            flaws.append(Flaw(number, key, "nothing behind the id" if key else "an empty line"))
            continue
        if key in seen:
            flaws.append(Flaw(number, key, "a duplicate id"))
        elif rows and key < rows[-1][0]:
            flaws.append(Flaw(number, key, "not sorted (LC_ALL=C)"))
        seen.add(key)
        rows.append((key, value))
    return rows, flaws


def read_table(path: str | Path, allow_empty: bool = False) -> dict[str, str]:
    """Read a table strictly: id to value, in the order of the file, which is the order of the ids.

    Args:
        path: the table.
        allow_empty: whether an id may stand without a value, as that of an empty transcript in ``text``.

    Raises:
        DataError: with the line number of the first duplicate or unsorted id, missing value, empty line
            or line that is not UTF-8; or if there is no such file.
    """
    rows, flaws = scan_table(Path(path), allow_empty)
    if flaws:
        line, key, kind = flaws[0]
        raise DataError(f"{path}:{line}: {kind}, found {key!r}; `speechllm fix` mends a data directory")
    return dict(rows)


def read_ids(path: str | Path) -> set[str]:
    """Return the ids that begin the lines of a list or table, in any order.

    Raises:
        DataError: at the first line that is empty or not UTF-8; or if there is no such file.
    """
    rows, flaws = scan_table(Path(path), allow_empty=True)
    for line, key, kind in flaws:
        if kind in ("not UTF-8", "an empty line"):
            raise DataError(f"{path}:{line}: {kind}, found {key!r}, expected an id")
    return {key for key, _ in rows}


def format_table(mapping: Mapping[str, str]) -> str:
    """Return the text of a table, sorted.

    Raises:
        DataError: if an id is empty or holds white space, or a value holds a line break.
    """
    for key, value in mapping.items():
        if not key or key.split() != [key] or "\n" in value:
            raise DataError(f"found the line {f'{key} {value}'!r}, expected an id without spaces, and one line of text")
    return "".join(f"{key} {mapping[key]}".rstrip(" ") + "\n" for key in sorted(mapping))


def write_table(path: str | Path, mapping: Mapping[str, str]) -> None:
    """Write a table sorted and at once: it is there complete, or as it was before.

    Raises:
        DataError: as ``format_table``.
    """
    try:
        text = format_table(mapping)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    with new_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")

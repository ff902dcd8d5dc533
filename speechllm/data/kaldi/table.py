"""Kaldi's text tables: one ``id value`` a line, sorted by id under LC_ALL=C, each id once.

Python orders strings by code point, which for UTF-8 is the byte order that LC_ALL=C means.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechllm.atomic import new_file
from speechllm.errors import DataError

MAY_BE_EMPTY = ("text", "context")
"""Tables in which an id may stand without a value."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # that some editors write at the beginning of a file


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
    rows: list[tuple[str, str]] = []
    flaws: list[Flaw] = []
    seen: set[str] = set()
    for number, row in _lines(path, allow_empty):
        if isinstance(row, Flaw):
            flaws.append(row)
            continue
        if row[0] in seen:
            flaws.append(Flaw(number, row[0], "a duplicate id"))
        elif rows and row[0] < rows[-1][0]:
            flaws.append(Flaw(number, row[0], "not sorted (LC_ALL=C)"))
        seen.add(row[0])
        rows.append(row)
    return rows, flaws


def is_sorted(path: Path) -> bool:
    """Whether every line of a table begins with an id behind that of the line before, looked at line by line."""
    last = b""
    with path.open("rb") as lines:
        for line in _without_mark(lines):
            key = line.split(None, 1)[0] if line.strip() else b""
            if key <= last:
                return False
            last = key
    return True


def iter_good_lines(path: Path, allow_empty: bool, tell: Callable[[Flaw], None]) -> Iterator[tuple[str, str]]:
    """Yield the lines of a table, id and value, one by one; those that cannot be read or are out of order are told."""
    last = ""
    for number, row in _lines(path, allow_empty):
        if not isinstance(row, Flaw) and row[0] <= last:
            row = Flaw(number, row[0], "a duplicate id" if row[0] == last else "not sorted (LC_ALL=C)")
        if isinstance(row, Flaw):
            tell(row)
        else:
            yield row
            last = row[0]


def iter_table(path: str | Path, allow_empty: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the lines of a table, id and value, read strictly and one by one, as for ``read_table``."""

    def refuse(flaw: Flaw) -> None:
        raise DataError(f"{path}:{flaw.line}: {flaw.kind}, found {flaw.id!r}; `speechllm fix` mends a data directory")

    return iter_good_lines(Path(path), allow_empty, refuse)


def read_table(path: str | Path, allow_empty: bool = False) -> dict[str, str]:
    """Read a table strictly: id to value, in the order of the file, which is the order of the ids.

    Args:
        path: the table.
        allow_empty: whether an id may stand without a value, as that of an empty transcript in ``text``.

    Raises:
        DataError: with the line number of the first duplicate or unsorted id, missing value, empty line
            line that is not UTF-8 or has a NUL character; or if there is no such file.
    """
    return dict(iter_table(path, allow_empty))


def _lines(path: Path, allow_empty: bool) -> Iterator[tuple[int, tuple[str, str] | Flaw]]:
    """Yield every line of a table with its number: id and value, or what is wrong with the line itself."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as lines:
        for number, line in enumerate(_without_mark(lines), start=1):
            try:
                key, value = [*re.split("[ \t]+", line.decode().strip(" \t\r\n"), maxsplit=1), ""][:2]
            except UnicodeDecodeError:
                yield number, Flaw(number, line.split(b" ")[0].decode(errors="backslashreplace"), "not UTF-8")
                continue
            if b"\0" in line:
                yield number, Flaw(number, key.replace("\0", "\\0"), "a NUL character")
            elif key and (value or allow_empty):
                yield number, (key, value)
            else:
                yield number, Flaw(number, key, "nothing behind the id" if key else "an empty line")


def _without_mark(lines: BinaryIO) -> Iterator[bytes]:
    """Return the lines of a file without a byte order mark at its beginning."""
    first = lines.readline().removeprefix(_BYTE_ORDER_MARK)
    return itertools.chain([first] if first else [], lines)


def read_ids(path: str | Path) -> set[str]:
    """Return the ids that begin the lines of a list or table, in any order.

    Raises:
        DataError: at the first line that is empty, not UTF-8 or has a NUL character; or if there is no such file.
    """
    rows, flaws = scan_table(Path(path), allow_empty=True)
    for line, key, kind in flaws:
        if kind in ("not UTF-8", "an empty line", "a NUL character"):
            raise DataError(f"{path}:{line}: {kind}, found {key!r}, expected an id")
    return {key for key, _ in rows}


def format_table(mapping: Mapping[str, str]) -> str:
    """Return the text of a table, sorted.

    Raises:
        DataError: if an id is empty or holds white space, or a value holds a line break or a NUL character.
    """
    for key, value in mapping.items():
        if not key or key.split() != [key] or "\n" in value or "\0" in key + value:
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

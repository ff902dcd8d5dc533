"""Kaldi's text tables: one ``id value`` per line, sorted by id under LC_ALL=C, each id once.

Python orders strings by code point; for UTF-8 this equals the byte order of LC_ALL=C.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechllm.atomic import new_file
from speechllm.errors import DataError

MAY_BE_EMPTY = ("text", "context")
"""Tables that may contain an id without a value."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # written by some editors at the start of a file


class Flaw(NamedTuple):
    """Error in one line of a table."""

    line: int
    id: str
    kind: str


def scan_table(path: Path, allow_empty: bool = False) -> tuple[list[tuple[str, str]], list[Flaw]]:
    """Return all readable lines, in the order of the file, and all flaws.

    Lines that repeat an id or are out of order are returned, too.

    Raises:
        DataError: if the file is missing.
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
    """Whether every line begins with an id that sorts after that of the previous line; reads line by line."""
    last = b""
    with path.open("rb") as lines:
        for line in _without_mark(lines):
            key = line.split(None, 1)[0] if line.strip() else b""
            if key <= last:
                return False
            last = key
    return True


def iter_good_lines(path: Path, allow_empty: bool, tell: Callable[[Flaw], None]) -> Iterator[tuple[str, str]]:
    """Yield the valid lines of a table as id and value; pass the flaws of other lines to ``tell``."""
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
    """Yield the lines of a table as id and value, with the errors of ``read_table``."""

    def refuse(flaw: Flaw) -> None:
        raise DataError(f"{path}:{flaw.line}: {flaw.kind}, found {flaw.id!r}; `speechllm fix` repairs a data directory")

    return iter_good_lines(Path(path), allow_empty, refuse)


def read_table(path: str | Path, allow_empty: bool = False) -> dict[str, str]:
    """Read a table strictly and return its values by id, in the order of the ids.

    Args:
        path: table file.
        allow_empty: whether an id may have no value, such as an empty transcript in ``text``.

    Raises:
        DataError: with the line number of the first duplicate or unsorted id, missing value, empty line, or
            line that is not UTF-8 or has a NUL character; or if the file is missing.
    """
    return dict(iter_table(path, allow_empty))


def _lines(path: Path, allow_empty: bool) -> Iterator[tuple[int, tuple[str, str] | Flaw]]:
    """Yield every line number of a table with id and value, or with the flaw of the line."""
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
                yield number, Flaw(number, key, "nothing after the id" if key else "an empty line")


def _without_mark(lines: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file without a leading byte order mark."""
    first = lines.readline().removeprefix(_BYTE_ORDER_MARK)
    return itertools.chain([first] if first else [], lines)


def read_ids(path: str | Path) -> set[str]:
    """Return the ids at the start of the lines of a list or table, in any order.

    Raises:
        DataError: if a line is empty, not UTF-8 or has a NUL character, or the file is missing.
    """
    rows, flaws = scan_table(Path(path), allow_empty=True)
    for line, key, kind in flaws:
        if kind in ("not UTF-8", "an empty line", "a NUL character"):
            raise DataError(f"{path}:{line}: {kind}, found {key!r}, expected an id")
    return {key for key, _ in rows}


def format_table(mapping: Mapping[str, str]) -> str:
    """Return the text of a sorted table.

    Raises:
        DataError: if an id is empty or contains white space, or a value contains a line break or a NUL character.
    """
    for key, value in mapping.items():
        if not key or key.split() != [key] or "\n" in value or "\0" in key + value:
            raise DataError(f"found the line {f'{key} {value}'!r}, expected an id without spaces, and one line of text")
    return "".join(f"{key} {mapping[key]}".rstrip(" ") + "\n" for key in sorted(mapping))


def write_table(path: str | Path, mapping: Mapping[str, str]) -> None:
    """Write a sorted table atomically.

    Raises:
        DataError: as ``format_table``.
    """
    try:
        text = format_table(mapping)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    with new_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")

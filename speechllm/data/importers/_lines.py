"""What the formats share: the lines of their files, with their numbers, as JSON or as cells."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm.data.kaldi.rows import BadRow
from speechllm.errors import DataError


def read_bytes(path: Path) -> bytes:
    """Return what is in a file, unpacked if its name ends in .gz.

    Raises:
        DataError: if it is not there, or damaged.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); is the path right, and the file complete?") from error


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """Yield file and line, and the JSON object on it or what is wrong with the line; empty lines are skipped."""
    for number, line in enumerate(read_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        where = f"{path.name}:{number}"
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode())
        except UnicodeDecodeError:
            yield where, BadRow(where, f"not UTF-8: line {number} of {path}")
        except (ValueError, RecursionError) as error:  # a number of too many digits is no JSONDecodeError
            yield where, BadRow(where, f"wrong JSON: line {number} of {path}, {error}")
        else:
            if isinstance(found, dict):
                yield where, found
            else:
                yield where, BadRow(where, f"wrong JSON: line {number} of {path} is no object {{...}}")


def first_object(path: Path) -> dict[str, Any]:
    """Return the JSON object on the first line of a file; an empty one if there is none."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            found = json.loads(file.readline().decode("utf-8-sig"))
    except (OSError, EOFError, zlib.error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_cells(path: Path) -> Iterator[tuple[str, list[str] | BadRow]]:
    """Yield file and line, and the cells of the line or what is wrong with it; empty lines are skipped.

    In a .csv a cell may be quoted; otherwise tabs separate cells, and quotes are letters.

    Raises:
        DataError: if there is no such file, or it is no CSV.
    """
    text = read_bytes(path).decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    if path.suffix.lower() == ".csv":
        lines = ((reader.line_num, cells) for cells in reader)
    else:
        lines = ((number, line.rstrip("\r").split("\t")) for number, line in enumerate(text.split("\n"), start=1))
    try:
        for number, cells in lines:
            where = f"{path.name}:{number}"
            if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
                yield where, BadRow(where, f"not UTF-8: line {number} of {path}")
            elif "".join(cells).strip():
                yield where, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: no CSV ({error}); is a quote missing?") from error

"""Functions shared by the importers: numbered lines of files, parsed as JSON or as cells."""

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
    """Return the content of a file, decompressed if its name ends in .gz.

    Raises:
        DataError: if the file is missing or damaged.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the path, and that the file is complete") from error


def read_json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """Yield file and line number with the JSON object of the line, or its error; empty lines are skipped."""
    for number, line in enumerate(read_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        where = f"{path.name}:{number}"
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode())
        except UnicodeDecodeError:
            yield where, BadRow(where, f"not UTF-8: line {number} of {path}")
        except (ValueError, RecursionError) as error:  # a number with too many digits is not a JSONDecodeError
            yield where, BadRow(where, f"wrong JSON: line {number} of {path}, {error}")
        else:
            if isinstance(found, dict):
                yield where, found
            else:
                yield where, BadRow(where, f"wrong JSON: line {number} of {path} is no object {{...}}")


def first_object(path: Path) -> dict[str, Any]:
    """Return the JSON object on the first line of a file; {} if there is none."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            found = json.loads(file.readline().decode("utf-8-sig"))
    except (OSError, EOFError, zlib.error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_cells(path: Path) -> Iterator[tuple[str, list[str] | BadRow]]:
    """Yield file and line number with the cells of the line, or its error; empty lines are skipped.

    In a .csv file cells may be quoted; otherwise cells are separated by tabs, and quotes have no special meaning.

    Raises:
        DataError: if the file is missing or not valid CSV.
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
        raise DataError(f"{path}:{reader.line_num}: invalid CSV ({error}); check for a missing quote") from error

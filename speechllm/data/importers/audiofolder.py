"""A folder of audio with a metadata.csv or metadata.jsonl, as in Hugging Face's `audiofolder` format.

The column `file_name` is relative to the folder. A split is a subfolder with its own metadata file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm.data.importers import Options
from speechllm.data.importers._fields import find_columns, locate, string
from speechllm.data.importers._lines import read_cells, read_json_lines
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import ConfigError, DataError

OPTIONS = frozenset({"split", "columns"})
KEEPS_IDS = False

_NAMES = ("metadata.csv", "metadata.jsonl")


def claims(source: Path) -> bool:
    """Whether the folder or one of its subfolders has a metadata file."""
    return source.is_dir() and bool(_splits(source))


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a split.

    Raises:
        ConfigError: if the split or a column is missing.
        DataError: if the metadata cannot be read.
    """
    splits = _splits(source)
    if options.split not in splits:
        found = ", ".join(filter(None, splits)) or "no splits"
        raise ConfigError(f"{source}: found {found}, expected {options.split or 'a choice'}; give --split NAME")
    path = splits[options.split]
    columns: dict[str, str] = {}
    for where, fields in _read_csv(path) if path.suffix == ".csv" else read_json_lines(path):
        if isinstance(fields, BadRow):
            yield fields
            continue
        columns = columns or find_columns(list(fields), {"audio": "file_name"} | dict(options.columns), str(path))
        try:
            yield Row(
                where=where,
                path=locate(string(fields, columns["audio"]), path.parent),
                text=string(fields, columns["text"]),
                speaker=string(fields, columns.get("speaker", ""), default=""),
                utt_id=string(fields, columns.get("id", ""), default=""),
            )
        except DataError as error:
            yield BadRow(where, str(error))


def _read_csv(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """Yield the lines of a CSV file after its header."""
    names: list[str] = []
    for where, cells in read_cells(path):
        if isinstance(cells, BadRow):
            yield where, cells
        elif not names:
            names = cells
        elif len(cells) != len(names):
            found = f"found {len(cells)}, expected {len(names)}"
            yield where, BadRow(where, f"a wrong number of columns: {found}")
        else:
            yield where, dict(zip(names, cells, strict=True))


def _splits(source: Path) -> dict[str, Path]:
    """Return the metadata file of each split; a file in the folder itself is the only split, named ''."""
    own = [source / name for name in _NAMES if (source / name).is_file()]
    if own:
        return {"": own[0]}
    found = {file.parent.name: file for name in _NAMES for file in sorted(source.glob(f"*/{name}"))}
    return found | {"": next(iter(found.values()))} if len(found) == 1 else found

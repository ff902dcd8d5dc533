"""A table with one utterance per line, `path<TAB>text` or `path<TAB>text<TAB>speaker`: .tsv, or .csv with commas.

A header line is detected; with it, columns may be in any order, and other columns are allowed. In a .csv file cells may
be quoted; in a .tsv file quotes have no special meaning, and a cell cannot contain a tab.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.importers import Options
from speechllm.data.importers._fields import USUAL, find_columns, locate
from speechllm.data.importers._lines import read_cells
from speechllm.data.kaldi.rows import BadRow, Row

OPTIONS = frozenset({"columns"})
KEEPS_IDS = False

_COLUMNS = ["audio", "text", "speaker"]  # columns of a table without a header line


def claims(source: Path) -> bool:
    """Whether the source is a .tsv or .csv file."""
    return source.is_file() and source.suffix.lower() in (".tsv", ".csv")


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a table.

    Raises:
        ConfigError: if a column is missing.
        DataError: if the file is missing or not valid CSV.
    """
    names: list[str] = []
    columns: dict[str, str] = {}
    for where, cells in read_cells(source):
        if isinstance(cells, BadRow):
            yield cells
            continue
        if not names:
            if options.columns or all(set(cells) & set(USUAL[what]) for what in ("audio", "text")):
                names, columns = cells, find_columns(cells, options.columns, str(source))
                continue
            names = _COLUMNS[: max(len(cells), 2)]
            columns = {name: name for name in names}
        yield _row(source, where, cells, names, columns)


def _row(source: Path, where: str, cells: list[str], names: list[str], columns: dict[str, str]) -> Row | BadRow:
    if len(cells) != len(names):
        return BadRow(where, f"a wrong number of columns: found {len(cells)}, expected {len(names)}")
    found = {what: cells[names.index(column)] for what, column in columns.items()}
    if not found["audio"]:
        return BadRow(where, "no path of an audio file")
    return Row(
        where=where,
        path=locate(found["audio"], source.parent),
        text=found["text"],
        speaker=found.get("speaker", ""),
        utt_id=found.get("id", ""),
    )

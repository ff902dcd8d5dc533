"""A table of one utterance a line, `path<TAB>text` or `path<TAB>text<TAB>speaker`, in a .tsv or, with commas, a .csv.

A first line that names the columns is found by itself; the columns may then stand in any order, among others. In a
.csv a cell may be quoted; in a .tsv quotes are letters, and a cell can hold no tab.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.importers import Options
from speechllm.data.importers._fields import USUAL, find_columns, locate
from speechllm.data.importers._lines import read_cells
from speechllm.data.kaldi.rows import BadRow, Row

OPTIONS = frozenset({"columns"})
KEEPS_IDS = False

_COLUMNS = ["audio", "text", "speaker"]  # of a table without a first line that names them


def claims(source: Path) -> bool:
    """Whether it is a file whose name ends in .tsv or .csv."""
    return source.is_file() and source.suffix.lower() in (".tsv", ".csv")


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a table.

    Raises:
        ConfigError: if a column is not there.
        DataError: if there is no such file, or it is no CSV.
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

"""Tables of a Markdown page that are filled from records of results.

A comment above a table names its records, JSON files in a folder seen from the page::

    <!-- rows of results/: whisper_base_smollm2_ctc_long whisper-base.en -->
    | model | dev_clean | control (dev_clean) | deletions (dev_clean) |
    |---|---|---|---|

Each record makes a row, ``NAME:shuffled`` the row of its shuffled-audio control. Heads of columns stay as they are:

- a key of the record's ``cells``, which are written by hand, or ``configuration``;
- a set: WER with its 95% interval; ``control (SET)``: WER with shuffled audio;
- ``FIELD (SET)``: a field of ``SetScore``.

``<!-- scores of results/: NAME ... -->`` makes a whole table with a row for each set of each record.
"""

import re
from pathlib import Path

from speechllm.errors import DataError
from speechllm.report.record import Record, read_record
from speechllm.report.tables import interval_text, rate_text, score_table
from speechllm.score.directory import write_whole

TABLE = re.compile(r"^<!-- (rows|scores) of (\S+/): ([^\n]*?) -->\n((?:\|.*\n)*)", re.MULTILINE)
SHUFFLED = ":shuffled"
CONTROL = "the same with shuffled audio (control)"


def fill_page(page: Path) -> int:
    """Fill the tables of a page from its records, in place.

    Returns:
        The number of tables.

    Raises:
        DataError: if the page cannot be read, a table has no head, a record is missing, or no record has a column.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{page}: cannot be read ({error}), expected a Markdown page; correct the path") from error
    filled, number = TABLE.subn(lambda match: _filled(page, match), text)
    if filled != text:
        write_whole(page, filled)
    return number


def records_of(page: Path) -> list[Path]:
    """Return the files of the records that the tables of a page name."""
    text = page.read_text(encoding="utf-8")
    return [_path(page, match, name) for match in TABLE.finditer(text) for name in match[3].split()]


def _path(page: Path, match: re.Match[str], name: str) -> Path:
    return page.parent / match[2] / f"{name.removesuffix(SHUFFLED)}.json"


def _filled(page: Path, match: re.Match[str]) -> str:
    kind, lines = match[1], match[4].splitlines()
    records = {name: read_record(_path(page, match, name)) for name in match[3].split()}
    marker = match[0].splitlines()[0]
    if kind == "scores":
        scores = {f"{name}: {key}": score for name, record in records.items() for key, score in record.scores.items()}
        return f"{marker}\n{score_table(scores)}"
    if len(lines) < 2:
        raise DataError(f"{page}: found no table below {marker}, expected its head and a line |---|; add both lines")
    heads = [head.strip() for head in lines[0].strip().strip("|").split("|")]
    rows = {name: [_cell(record, head) for head in heads] for name, record in records.items()}
    for head, *column in zip(heads, *rows.values(), strict=True):
        if not any(column):
            where = f"{page}: no record of {marker} has column {head!r}"
            raise DataError(f"{where}, expected a set or a key of cells; correct the head or add the cell")
    for name in rows:
        if name.endswith(SHUFFLED):
            rows[name] = [CONTROL, *(_cell(records[name], f"control ({head})") for head in heads[1:])]
    body = ("|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows.values())
    return "\n".join([marker, *lines[:2], *body, ""])


def _cell(record: Record, head: str) -> str:
    """Return the cell of a record in the column of a head; "" if the record does not have it."""
    if head in record.cells:
        return record.cells[head]
    if head == "configuration":
        return f"`{record.config}`" if record.config else ""
    if score := record.scores.get(head):
        interval = interval_text(score)
        return f"{rate_text(score.wer)} ({interval})" if interval else rate_text(score.wer)
    if found := re.fullmatch(r"(\w+) \((\S+)\)", head):
        field, name = found.groups()
        score = record.scores.get(f"{name}_shuffled" if field == "control" else name)
        value = None if score is None else score.wer if field == "control" else getattr(score, field, None)
        return "" if value is None else rate_text(value) if isinstance(value, float) else str(value)
    return ""

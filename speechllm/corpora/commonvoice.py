"""Common Voice: sentences read by volunteers in many languages (commonvoice.mozilla.org); any release.

Layout: ``<root>/{train,dev,test,validated,other,invalidated}.tsv`` and ``<root>/clips/*.mp3``. ``root`` is the folder
of a language, such as ``cv-corpus-7.0-2021-07-21/en``, or a folder above it that contains no other language.

Columns of the tables are found by name, because their order and number vary between releases. Speakers are the first
characters of ``client_id``. Quotation marks belong to the sentence, not to the table format.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.kaldi.data_dir import write_language
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.data.kaldi.write_rows import write_rows
from speechllm.errors import DataError

VARIABLE = "COMMON_VOICE"
SETS = ("train", "dev", "test", "validated", "other", "invalidated", "validated_train")
"""Sets; ``validated_train`` is ``validated`` without the clips and speakers of dev and test."""
COLUMNS = ("client_id", "path", "sentence")
SPEAKER_LENGTH = 16
WHERE_TO_GET = (
    "get a release at https://commonvoice.mozilla.org/datasets (requires a form), unpack it, and set "
    f"{VARIABLE} to the folder that contains cv-corpus-*"
)


def has_set(root: Path, name: str) -> bool:
    """Return whether a set is published."""
    return name in SETS


def download(root: Path, sets: list[str]) -> None:
    """Check that the sets exist; the corpus is free, but a form is required to get it.

    Raises:
        DataError: if a set is missing; with instructions to get it.
    """
    for name in sets:
        _tables(root, name)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set; unusable rows and clips are counted and listed in it.

    The name of the folder is the language code, which is recorded for Whisper's own decoder.

    Args:
        root: root of the corpus.
        data: parent of the data directories ``<data>/<set>``.
        sets: names from ``SETS``.

    Raises:
        DataError: if a set is not under ``root``, none of its clips is usable, or two speakers have the same id.
    """
    for name in sets:
        table, *held_out = _tables(root, name)
        clips, speakers = _listed(held_out)
        rows = (
            row
            for row in _rows(table)
            if isinstance(row, BadRow) or not (row.path.name in clips or row.speaker in speakers)
        )
        write_rows(data / name, rows, f"prepare commonvoice {name} {table.parent}")
        write_language(data / name, table.parent.name)


def _tables(root: Path, name: str) -> list[Path]:
    """Return the table of a set, and the tables of sets to exclude from it."""
    names = ["validated", "dev", "test"] if name == "validated_train" else [name]
    tables = [_language(root) / f"{one}.tsv" for one in names]
    for table in tables:
        if not table.is_file():
            raise DataError(f"{table}: no such file, expected a table of Common Voice; {WHERE_TO_GET}")
    return tables


def _language(root: Path) -> Path:
    """Return the folder of the tables: ``root``, or the only such folder up to two levels below it."""
    found = [path.parent for pattern in ("clips", "*/clips", "*/*/clips") for path in sorted(root.glob(pattern))]
    if len(found) != 1:
        listed = f"{len(found)}: {', '.join(map(str, found[:5]))}" if found else "none"
        raise DataError(f"{root}: language folders with a folder clips: found {listed}, expected one; {WHERE_TO_GET}")
    return found[0]


def _listed(tables: list[Path]) -> tuple[set[str], set[str]]:
    """Return the names of the clips, and the speakers, in tables."""
    rows = [row for table in tables for row in _rows(table) if isinstance(row, Row)]
    return {row.path.name for row in rows}, {row.speaker for row in rows}


def _rows(table: Path) -> Iterator[Row | BadRow]:
    """Yield the rows of a table; the csv module would join lines if a sentence begins with a quotation mark."""
    clips = table.parent / "clips"
    known: dict[str, str] = {}
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
        header = next(lines, "").rstrip("\r\n").split("\t")
        if missing := [name for name in COLUMNS if name not in header]:
            raise DataError(
                f"{table}:1: no column {' and '.join(missing)}, found {', '.join(header)}; check that it is complete"
            )
        places = [header.index(name) for name in COLUMNS]
        for number, line in enumerate(lines, start=2):
            where, fields = f"{table.name}:{number}", line.rstrip("\r\n").split("\t")
            if len(fields) <= max(places):
                yield BadRow(where, f"too few fields: {len(fields)} of {len(header)}")
                continue
            client, path, sentence = (fields[place] for place in places)
            speaker = client[:SPEAKER_LENGTH]
            if known.setdefault(speaker, client) != client:
                raise DataError(
                    f"{table}:{number}: client_id {client} begins as {known[speaker]}, expected another start"
                )
            name = path if path.endswith(".mp3") else f"{path}.mp3"  # as in the first releases
            yield Row(where=where, path=clips / name, text=sentence, speaker=speaker)

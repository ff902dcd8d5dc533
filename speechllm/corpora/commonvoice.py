"""Common Voice: sentences read by volunteers in many languages (commonvoice.mozilla.org), any release.

Layout: ``<root>/{train,dev,test,validated,other,invalidated}.tsv`` and ``<root>/clips/*.mp3``, ``root`` being the
folder of a language, ``cv-corpus-7.0-2021-07-21/en``; a folder above it will do where it holds no other language.

The columns of the tables have changed their order and number from release to release and are found by their names.
Speakers are the first characters of ``client_id``. Quotation marks are part of a sentence, not of the table.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.kaldi.data_dir import write_language
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.data.kaldi.write_rows import write_rows
from speechllm.errors import DataError

VARIABLE = "COMMON_VOICE"
SETS = ("train", "dev", "test", "validated", "other", "invalidated", "validated_train")
"""``validated_train`` is what is validated, without the clips and the speakers of dev and test."""
COLUMNS = ("client_id", "path", "sentence")
SPEAKER_LENGTH = 16
WHERE_TO_GET = (
    "get a release at https://commonvoice.mozilla.org/datasets, where a form has to be filled in, unpack it, and set "
    f"{VARIABLE} to the folder that holds cv-corpus-*"
)


def has_set(root: Path, name: str) -> bool:
    """Return whether releases have such a set."""
    return name in SETS


def download(root: Path, sets: list[str]) -> None:
    """Check that the corpus is there: it is free, but given out only to who fills in a form.

    Raises:
        DataError: if a set is not; the message says where to get it.
    """
    for name in sets:
        _tables(root, name)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set; rows and clips that cannot be used are counted and listed in it.

    The folder of the tables names the language, which is recorded for Whisper's own decoder.

    Args:
        root: of the corpus.
        data: where the directories ``<data>/<set>`` go.
        sets: names from ``SETS``.

    Raises:
        DataError: if a set is not under ``root``, none of its clips can be used, or two speakers cannot be told apart.
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
    """Return the table of a set, and those of the sets that are held out of it."""
    names = ["validated", "dev", "test"] if name == "validated_train" else [name]
    tables = [_language(root) / f"{one}.tsv" for one in names]
    for table in tables:
        if not table.is_file():
            raise DataError(f"{table}: no such file, expected a table of Common Voice; {WHERE_TO_GET}")
    return tables


def _language(root: Path) -> Path:
    """Return the folder that holds the tables: ``root`` or, if there is but one, a folder of it or of one of these."""
    found = [path.parent for pattern in ("clips", "*/clips", "*/*/clips") for path in sorted(root.glob(pattern))]
    if len(found) != 1:
        listed = f"{len(found)}: {', '.join(map(str, found[:5]))}" if found else "none"
        raise DataError(
            f"{root}: expected the folder of one language, which holds clips, found {listed}; {WHERE_TO_GET}"
        )
    return found[0]


def _listed(tables: list[Path]) -> tuple[set[str], set[str]]:
    """Return the names of the clips in tables, and their speakers."""
    rows = [row for table in tables for row in _rows(table) if isinstance(row, Row)]
    return {row.path.name for row in rows}, {row.speaker for row in rows}


def _rows(table: Path) -> Iterator[Row | BadRow]:
    """Read a table line by line; csv's quoting would join lines wherever a sentence begins with a quotation mark."""
    clips = table.parent / "clips"
    known: dict[str, str] = {}
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
        header = next(lines, "").rstrip("\r\n").split("\t")
        if missing := [name for name in COLUMNS if name not in header]:
            raise DataError(f"{table}:1: no column {' and '.join(missing)}, found {', '.join(header)}; is it complete?")
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
            name = path if path.endswith(".mp3") else f"{path}.mp3"  # as the first releases have it
            yield Row(where=where, path=clips / name, text=sentence, speaker=speaker)

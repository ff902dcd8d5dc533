"""my_corpus: a sentence about it, and where it can be had.

Layout: `<root>/{train,dev,test}.tsv`, a table of `path<TAB>text` or `path<TAB>text<TAB>speaker` each, with paths
relative to the table. Another layout means another `parse`, and here another description.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.rows import BadRow, Row
from speechllm.data.write_rows import write_rows
from speechllm.errors import DataError

VARIABLE = "MY_CORPUS"

SETS = ("train", "dev", "test")


def parse(root: Path, name: str) -> Iterator[Row | BadRow]:
    """Yield the utterances of a set; this is what to rewrite for another layout.

    A ``Row`` may also say which part of a file it is (``start``, ``duration``) and its own id (``utt_id``); what
    cannot be used is a ``BadRow``. Whether the audio is there and how long it is, is found out later.

    Args:
        root: of the corpus.
        name: of the set, from ``SETS``.
    """
    table = root / f"{name}.tsv"
    for number, line in enumerate(table.read_bytes().splitlines(), start=1):
        where = f"{table.name}:{number}"
        try:
            path, text, *speaker = line.decode().split("\t")
        except ValueError:  # which a UnicodeDecodeError is, too
            yield BadRow(where, f"not two or three columns of UTF-8: line {number} of {table}")
            continue
        yield Row(where=where, path=root / path, text=text, speaker=speaker[0].strip() if speaker else "")


def has_set(root: Path, name: str) -> bool:
    """Return whether there is such a set."""
    return name in SETS


def download(root: Path, sets: list[str]) -> None:
    """Check that the corpus is there, as it cannot be downloaded.

    Raises:
        DataError: if a set is not.
    """
    for name in sets:
        _check(root, name)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set.

    Args:
        root: of the corpus.
        data: where the directories ``<data>/<set>`` go.
        sets: names from ``SETS``.

    Raises:
        DataError: if a set is not under ``root`` or none of its utterances can be used.
    """
    for name in sets:
        _check(root, name)
        write_rows(data / name, parse(root, name), f"prepare my_corpus {name} {root}")


def _check(root: Path, name: str) -> None:
    table = root / f"{name}.tsv"
    if not table.is_file():
        raise DataError(f"{table}: no such file, expected the set {name}; is {VARIABLE}={root} where the corpus lies?")

"""Corpora defined by a function that yields rows."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.data.kaldi.write_rows import write_rows

Parse: TypeAlias = Callable[[Path, str], Iterator[Row | BadRow]]
"""Maps the root of a corpus and the name of a set to its rows; raises DataError if there is no such set."""


def corpus_of_rows(
    parse: Parse,
) -> tuple[
    Callable[[Path, str], bool], Callable[[Path, Sequence[str]], None], Callable[[Path, Path, Sequence[str]], None]
]:
    """Return the functions ``has_set``, ``download`` and ``prepare`` of the corpus that ``parse`` reads."""
    corpus = parse.__module__.rpartition(".")[2]

    def has_set(root: Path, name: str) -> bool:
        """Return True: ``parse`` checks the name."""
        return True

    def download(root: Path, sets: Sequence[str]) -> None:
        """Check that the sets exist, since they cannot be downloaded."""
        for name in sets:
            next(parse(root, name), None)

    def prepare(root: Path, data: Path, sets: Sequence[str]) -> None:
        """Write one Kaldi directory ``<data>/<set>`` per set."""
        for name in sets:
            write_rows(data / name, parse(root, name), f"prepare {corpus} {name} {root}")

    return has_set, download, prepare

"""A folder of audio files without transcripts, for `speechllm pseudo_label`.

It is never detected: give `--format untranscribed`. Speakers are unknown.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.audio.formats import SUFFIXES, left_out
from speechllm.data.files import entries_below
from speechllm.data.importers import Options
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import DataError

OPTIONS: frozenset[str] = frozenset()
KEEPS_IDS = False


def claims(source: Path) -> bool:
    """Return False: missing transcripts are more often an error."""
    return False


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the audio files of a folder, sorted by path.

    Raises:
        DataError: if it is not a folder.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder, expected a folder of audio files")
    for file in entries_below(source.absolute()):
        where = str(file.relative_to(source.absolute()))
        if reason := left_out(file):
            yield BadRow(where, f"unreadable audio: {file}: {reason}")
        elif file.suffix.lower() in SUFFIXES:
            yield Row(where=where, path=file, text=None)

"""Writing of data directories of any size with little memory, from utterances in any order.

The tables are written line by line in the order of arrival, then sorted on disk by the system's ``sort``.
"""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from speechllm.data.kaldi.data_dir import Utterance, format_seconds, format_segment
from speechllm.data.kaldi.dropped import kind, none_left, tell_dropped
from speechllm.data.kaldi.target import check_target, new_target
from speechllm.errors import DataError

_MEMORY = "512M"  # limit for sort


class SortedTables:
    """Tables of a data directory that is being written: segments of recordings, each with its text."""

    def __init__(self, files: Mapping[str, TextIO]) -> None:
        self._files = files
        self._recordings: dict[str, Path] = {}
        self.num_utts = 0
        self.kinds: Counter[str] = Counter()
        self.first_dropped: list[tuple[str, str]] = []

    def add(self, utt: Utterance) -> None:
        """Write an utterance, which is a segment of a recording, with its text.

        Raises:
            DataError: if its recording id was used for another file.
        """
        assert utt.recording and utt.text
        if utt.recording not in self._recordings:
            self._write("wav.scp", utt.recording, str(utt.path))
        if self._recordings.setdefault(utt.recording, utt.path) != utt.path:
            raise DataError(f"recording {utt.recording} is both {self._recordings[utt.recording]} and {utt.path}")
        self._write("segments", utt.utt_id, format_segment(utt))
        self._write("text", utt.utt_id, utt.text)
        self._write("utt2spk", utt.utt_id, utt.speaker)
        self._write("utt2dur", utt.utt_id, format_seconds(utt.duration))
        self.num_utts += 1

    def drop(self, utt_id: str, reason: str) -> None:
        """Record an utterance as left out, with the reason ``kind`` or ``kind: detail``."""
        self._write("dropped", utt_id, reason)
        self.kinds[kind(reason)] += 1
        self.first_dropped = self.first_dropped or [(utt_id, reason)]

    def _write(self, name: str, key: str, value: str) -> None:
        assert key.split() == [key] and "\n" not in value, (name, key, value)
        self._files[name].write(f"{key} {value}\n")


@contextmanager
def new_sorted_tables(path: Path, fingerprint: str) -> Iterator[SortedTables]:
    """Yield the tables of a data directory, which is created when the block succeeds.

    Args:
        path: data directory; ``check_target`` describes which existing directories are replaced.
        fingerprint: see ``data_dir.is_made``.

    Raises:
        DataError: if there is no utterance, two have the same id, or files that no verb wrote would be lost.
    """
    names = ("wav.scp", "segments", "text", "utt2spk", "utt2dur", "dropped")
    check_target(path)
    with new_target(path, "data directory", fingerprint) as folder:
        with ExitStack() as stack:
            files = {name: stack.enter_context((folder / name).open("w", encoding="utf-8")) for name in names}
            tables = SortedTables(files)
            yield tables
        if not tables.num_utts:
            raise none_left(path, tables.kinds, tables.first_dropped)
        for name in names:
            _sort(folder / name, folder / name, "-k1,1")
        if repeated := _repeated(folder / "utt2spk"):
            raise DataError(f"{path}: found two utterances {repeated!r}")
        _write_spk2utt(folder)
        if not tables.kinds:
            (folder / "dropped").unlink()
    tell_dropped(path, tables.kinds)


def _sort(source: Path, target: Path, *keys: str) -> None:
    command = ["sort", "-S", _MEMORY, "-T", str(source.parent), *keys, "-o", str(target), str(source)]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"})


def _repeated(table: Path) -> str | None:
    """Return the first duplicate id of a sorted table."""
    last = None
    with table.open(encoding="utf-8") as lines:
        for line in lines:
            key = line.partition(" ")[0]
            if key == last:
                return key
            last = key
    return None


def _write_spk2utt(folder: Path) -> None:
    by_speaker = folder / "spk2utt.unfinished"
    _sort(folder / "utt2spk", by_speaker, "-k2,2", "-k1,1")
    speaker = None
    with by_speaker.open(encoding="utf-8") as lines, (folder / "spk2utt").open("w", encoding="utf-8") as table:
        for line in lines:
            utt, found = line.split()
            table.write(f" {utt}" if found == speaker else f"{'' if speaker is None else chr(10)}{found} {utt}")
            speaker = found
        table.write("\n")
    by_speaker.unlink()

"""A dataset over a dump of features or encoder states."""

import itertools
import math
import struct
import tokenize
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kaldiio.matio
import numpy as np

from speechllm.data.columns import StringWriter
from speechllm.data.config import TranscriptCase
from speechllm.data.context import context_case
from speechllm.data.dataset import Example, Listed, SpeechDataset, Table
from speechllm.data.dump_record import check_fingerprint
from speechllm.data.kaldi.data_dir import iter_table, read_table
from speechllm.data.kaldi.table import MAY_BE_EMPTY
from speechllm.errors import DataError

_DAMAGED = (
    *(OSError, ValueError, AssertionError, EOFError, MemoryError, OverflowError, TypeError, LookupError),
    *(struct.error, SyntaxError, tokenize.TokenError),
)
"""Exceptions that kaldiio and numpy raise for damaged matrices."""


class DumpDataset(SpeechDataset):
    """Utterances of a dump of features or encoder states.

    Args:
        dump_dir: output of ``merge_dump``; relative paths in its feats.scp refer to the working directory.
        transcript: case of the transcripts.

    Raises:
        DataError: if the dump is incomplete or its files contradict each other.
    """

    def __init__(self, dump_dir: str | Path, transcript: TranscriptCase = "as_is") -> None:
        self.dump_dir = Path(dump_dir)
        if not (self.dump_dir / "feats.scp").is_file():
            raise DataError(f"{self.dump_dir}: found no finished dump (feats.scp is missing); run stage 2")
        has_text = (self.dump_dir / "text").is_file()
        contexts: dict[str, str] = {}
        ids, texts, words = StringWriter(), StringWriter(), array("b")
        durations, num_frames, matrices = array("d"), array("I"), _Matrices(self.dump_dir)
        for utt_id, place, frames, duration, *rest in self._rows(has_text):
            ids.append(utt_id)
            matrices.append(place, utt_id)
            num_frames.append(int(self._number("utt2num_frames", utt_id, frames, 2**32)))
            durations.append(self._number("utt2dur", utt_id, duration, math.inf))
            for one in rest[:has_text]:
                texts.append(one)
                words.append(bool(one))
            for one in filter(None, rest[has_text:]):
                contexts[utt_id] = context_case(one, transcript)
        table = Table.of(ids, durations, num_frames, texts, words)
        super().__init__(str(dump_dir), table, [matrices], transcript, contexts=contexts)

    def check(self, fingerprint: dict[str, Any]) -> None:
        """Check that the dump has the settings that a model expects; see ``check_fingerprint``."""
        check_fingerprint(self.dump_dir, fingerprint)

    def fingerprint(self) -> str:
        """Return the description of the dump."""
        return (self.dump_dir / "feats.yaml").read_text(encoding="utf-8")

    def _rows(self, has_text: bool) -> Iterator[tuple[str, ...]]:
        """Yield the values of each utterance in all tables."""
        names = ["feats.scp", "utt2num_frames", "utt2dur", *["text"] * has_text]
        names += ["context"] * (self.dump_dir / "context").is_file()
        tables = [iter_table(self.dump_dir / name, allow_empty=name in MAY_BE_EMPTY) for name in names]
        for rows in itertools.zip_longest(*tables, fillvalue=("", "")):
            for name, (utt_id, _) in zip(names, rows, strict=True):
                if utt_id != rows[0][0]:
                    first, other = (read_table(self.dump_dir / one, allow_empty=True) for one in (names[0], name))
                    wrong = first.keys() ^ other.keys()
                    raise DataError(
                        f"{self.dump_dir}: {len(wrong)} utterances are in only one of {name} and feats.scp, the first "
                        f"is {min(wrong)}; run stage 2 again"
                    )
            yield rows[0][0], *(value for _, value in rows)

    def _number(self, name: str, utt_id: str, value: str, limit: float) -> float:
        """Parse a positive number of a table; an integer if there is a limit."""
        try:
            number = float(value) if limit == math.inf else int(value)
        except ValueError:
            number = 0
        if not 0 < number < limit:
            raise DataError(
                f"{self.dump_dir}/{name}: {utt_id}: found {value!r}, expected a positive number; run stage 2 again"
            )
        return number


class _Matrices:
    """Reader of the matrices in the arks of a dump; stores the position of each in 12 bytes."""

    def __init__(self, dump_dir: Path) -> None:
        self._dump_dir = dump_dir
        self._arks: dict[str, int] = {}
        self._ark_of, self._offsets = array("I"), array("Q")

    def append(self, place: str, utt_id: str) -> None:
        """Add the matrix at ``path:offset``."""
        path, _, offset = place.rpartition(":")
        if not offset.isascii() or not offset.isdigit():
            raise DataError(
                f"{self._dump_dir}/feats.scp: {utt_id}: found {place!r}, expected path:offset; delete the dump and run "
                "stage 2 again"
            )
        self._ark_of.append(self._arks.setdefault(path, len(self._arks)))
        self._offsets.append(int(offset))

    def read(self, utt: Listed, epoch: int | None) -> Example:
        """Read one utterance; it is the same in every epoch.

        Raises:
            DataError: if its matrix cannot be read or its length differs from utt2num_frames.
        """
        path = list(self._arks)[self._ark_of[utt.row]]
        inputs_TF = _read_matrix(f"{path}:{self._offsets[utt.row]}", f"{self._dump_dir}: {utt.utt_id}")
        if len(inputs_TF) != utt.num_frames:
            raise DataError(
                f"{self._dump_dir}: {utt.utt_id}: found {len(inputs_TF)} frames, expected {utt.num_frames} "
                "(utt2num_frames); delete the dump and run stage 2 again"
            )
        return Example(utt.utt_id, inputs_TF, utt.text, utt.duration)


def _read_matrix(place: str, where: str) -> np.ndarray:
    """Read the matrix at ``path:offset``."""
    path, _, offset = place.rpartition(":")
    try:
        with Path(path).open("rb") as ark:
            ark.seek(int(offset))
            kind = ark.read(3)
            if kind[:2] != b"\0B" and kind != b"NPY":  # kaldiio would parse it as text, or unpickle it
                raise ValueError("found neither a Kaldi matrix nor a numpy array")
            ark.seek(int(offset))
            return kaldiio.matio.read_kaldi(ark)
    except FileNotFoundError as error:
        raise DataError(
            f"{where}: no file {path}; change to the directory where the dump was made, or run stage 2 again"
        ) from error
    except _DAMAGED as error:
        raise DataError(
            f"{where}: cannot read {place!r}: {str(error)[:200]!r}; delete the dump and run stage 2 again"
        ) from error

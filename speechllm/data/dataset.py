"""The utterances of a dump, read one at a time when they are asked for."""

import copy
import math
import re
import struct
import tokenize
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import kaldiio.matio
import numpy as np
from torch.utils.data import Dataset

from speechllm.data.config import DataConfig, TranscriptCase
from speechllm.data.kaldi.data_dir import read_table, write_table
from speechllm.errors import DataError
from speechllm.interfaces import Frontend, Seconds

_DAMAGED = (
    *(OSError, ValueError, AssertionError, EOFError, MemoryError, OverflowError, TypeError, LookupError),
    *(struct.error, SyntaxError, tokenize.TokenError),
)
"""Errors that kaldiio and numpy raise for damaged matrices."""
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Example:
    """One utterance, as it was dumped."""

    utt_id: str
    inputs_TF: np.ndarray
    """Features not yet normalised (float32), or encoder states (float16)."""
    text: str
    """Transcript, empty if there is none."""
    duration: Seconds


def example_of(samples_N: np.ndarray, frontend: Frontend) -> Example:
    """Return samples at the frontend's rate as an utterance without id and transcript."""
    return Example("", frontend.extract(samples_N), "", len(samples_N) / frontend.sample_rate)


class DumpDataset(Dataset[Example]):
    """A dump, by utterance id: ``dataset["1272-128104-0000"]``.

    A matrix is read from its place in the ark when it is asked for, through a file that is opened for
    it alone, so any number of worker processes may share a dataset. Transcripts, durations and
    lengths are known without reading.

    Args:
        dump_dir: written by ``merge_dump``; relative paths in its feats.scp start from the present directory.
        transcript: case in which transcripts are given.

    Raises:
        DataError: if the dump is not complete or its files do not agree.
    """

    def __init__(self, dump_dir: str | Path, transcript: TranscriptCase = "as_is") -> None:
        self.dump_dir = Path(dump_dir)
        self.transcript = transcript
        if not (self.dump_dir / "feats.scp").is_file():
            raise DataError(f"{self.dump_dir}: no finished dump (feats.scp is missing); run stage 2")
        self._places = read_table(self.dump_dir / "feats.scp")
        self.utt_ids = list(self._places)
        self.num_frames = self._numbers("utt2num_frames", int)
        self.durations: dict[str, Seconds] = self._numbers("utt2dur", float)
        self.texts: dict[str, str] | None = None
        """Transcripts; None if the dump has none, which is enough for decoding."""
        if (self.dump_dir / "text").is_file():
            self.texts = {utt_id: change_case(text, transcript) for utt_id, text in self._table("text").items()}
        self.wordless = set() if self.texts is None or any(self.texts.values()) else set(self.utt_ids)
        """The utterances, if none of them has words: nothing is said in them, and that may be taught."""

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __getitem__(self, utt_id: str) -> Example:
        """Read one utterance.

        Raises:
            DataError: if its matrix cannot be read or has not the length that utt2num_frames says.
        """
        inputs_TF = _read_matrix(self._places[utt_id], f"{self.dump_dir}: {utt_id}")
        if len(inputs_TF) != self.num_frames[utt_id]:
            raise DataError(
                f"{self.dump_dir}: {utt_id}: found {len(inputs_TF)} frames, expected {self.num_frames[utt_id]} "
                "(utt2num_frames); delete the dump and run stage 2 again"
            )
        text = "" if self.texts is None else self.texts[utt_id]
        return Example(utt_id, inputs_TF, text, self.durations[utt_id])

    def _numbers(self, name: str, kind: Callable[[str], _Number]) -> dict[str, _Number]:
        """Read a table of positive numbers."""
        numbers = {}
        for utt_id, value in self._table(name).items():
            try:
                numbers[utt_id] = kind(value)
            except ValueError:
                numbers[utt_id] = kind("0")
            if not 0 < numbers[utt_id] < math.inf:
                raise DataError(
                    f"{self.dump_dir}/{name}: {utt_id}: found {value!r}, expected a positive number; run stage 2 again"
                )
        return numbers

    def _table(self, name: str) -> dict[str, str]:
        table = read_table(self.dump_dir / name, allow_empty=name == "text")
        wrong = table.keys() ^ self._places.keys()
        if wrong:
            raise DataError(
                f"{self.dump_dir}: {len(wrong)} utterances are not both in {name} and in feats.scp, the first is "
                f"{min(wrong)}; run stage 2 again"
            )
        return table


def combine_dumps(datasets: Sequence[DumpDataset]) -> DumpDataset:
    """Return the dumps as one dataset.

    Raises:
        DataError: if an utterance is in two of them.
    """
    joined = copy.copy(datasets[0])
    joined.dump_dir = Path(" + ".join(str(one.dump_dir) for one in datasets))
    for one in datasets[1:]:
        if twice := sorted(joined.durations.keys() & one.durations.keys()):
            raise DataError(f"{one.dump_dir}: {len(twice)} utterances are in another dump, too, the first {twice[0]}")
        joined._places = joined._places | one._places
        joined.utt_ids = joined.utt_ids + one.utt_ids
        joined.num_frames = joined.num_frames | one.num_frames
        joined.durations = joined.durations | one.durations
        joined.wordless = joined.wordless | one.wordless
        joined.texts = None if joined.texts is None or one.texts is None else joined.texts | one.texts
    return joined


def change_case(text: str, transcript: TranscriptCase) -> str:
    """Return a transcript as the LLM is to write it: unchanged, in lower case, or as a sentence."""
    if transcript == "as_is":
        return text
    if transcript == "lower":
        return text.lower()
    return re.sub(r"^\W*\w", lambda match: match[0].upper(), text.lower(), count=1)


def select_for_training(
    dataset: DumpDataset, config: DataConfig, skipped_path: str | Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Choose the utterances to train on.

    Those without words are left out, but where no utterance of a set has any: it teaches that nothing is said in it.

    Args:
        dataset: with transcripts.
        config: the shortest and the longest duration.
        skipped_path: where the skipped utterances are listed, ``utt_id reason`` a line, and a sentence
            counts them; None, for all ranks but one: nothing is written or said.

    Returns:
        The ids that are kept, in the dataset's order, and the reason for each that is skipped.

    Raises:
        DataError: if there are no transcripts, nothing is left, or nothing with words.
    """
    if dataset.texts is None:
        raise DataError(f"{dataset.dump_dir}: no file text, but training needs transcripts; add it and run stage 2")
    kept, skipped = [], {}
    for utt_id in dataset.utt_ids:
        if dataset.durations[utt_id] > config.max_duration:
            skipped[utt_id] = f"longer than {config.max_duration} s"
        elif dataset.durations[utt_id] < config.min_duration:
            skipped[utt_id] = f"shorter than {config.min_duration} s"
        elif not dataset.texts[utt_id].strip() and utt_id not in dataset.wordless:
            skipped[utt_id] = "empty transcript"
        else:
            kept.append(utt_id)
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(skipped.values()).items())
    summary = f"{len(skipped)} of {len(dataset)} utterances skipped" + (f" ({reasons})" if skipped else "")
    if skipped_path is not None:
        write_table(skipped_path, skipped)
        taught = sum(utt_id in dataset.wordless for utt_id in kept)
        wordless = f"; of those kept, {taught} are of sets in which nothing is said" if taught else ""
        print(f"{dataset.dump_dir}: {summary}; listed in {skipped_path}{wordless}", flush=True)
    if not kept:
        raise DataError(f"{dataset.dump_dir}: nothing is left to train on: {summary}")
    if dataset.wordless.issuperset(kept):
        raise DataError(f"{dataset.dump_dir}: all transcripts are empty, expected some with words; see its text")
    return kept, skipped


def _read_matrix(place: str, where: str) -> np.ndarray:
    """Read the matrix at ``path:offset``."""
    path, _, offset = place.rpartition(":")
    try:
        with Path(path).open("rb") as ark:
            ark.seek(int(offset))
            kind = ark.read(3)
            if kind[:2] != b"\0B" and kind != b"NPY":  # kaldiio would try text, or unpickle it
                raise ValueError("neither a Kaldi matrix nor a numpy array begins here")
            ark.seek(int(offset))
            return kaldiio.matio.read_kaldi(ark)
    except FileNotFoundError as error:
        raise DataError(
            f"{where}: no file {path}; dumps are read from the directory where they were made, or re-run stage 2"
        ) from error
    except _DAMAGED as error:
        raise DataError(
            f"{where}: cannot read {place!r}: {str(error)[:200]!r}; delete the dump and run stage 2 again"
        ) from error

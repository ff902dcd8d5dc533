"""Datasets of utterances that are read one at a time on access."""

import functools
import heapq
import itertools
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch.utils.data import Dataset

from speechllm.data.columns import Numbers, Strings, StringWriter, Texts
from speechllm.data.config import DataConfig, TranscriptCase
from speechllm.data.kaldi.data_dir import write_table
from speechllm.errors import DataError
from speechllm.interfaces import Frontend, Seconds


@dataclass(frozen=True)
class Example:
    """Inputs of the model for one utterance, and its transcript."""

    utt_id: str
    inputs_TF: np.ndarray
    """Features before normalisation (float32), or encoder states (float16)."""
    text: str
    """Transcript, empty if there is none."""
    duration: Seconds
    context: str = ""
    """Text for the prompt, in the case of the transcripts; empty if there is none."""
    language: str = ""
    """English name of the language, for prompts with a place for it."""


def example_of(samples_N: np.ndarray, frontend: Frontend, context: str = "", language: str = "") -> Example:
    """Return an example, without id and transcript, for samples at the frontend's rate."""
    return Example("", frontend.extract(samples_N), "", len(samples_N) / frontend.sample_rate, context, language)


class Listed(NamedTuple):
    """Entry of a list of utterances."""

    utt_id: str
    row: int
    """Row of the utterance in its own set."""
    text: str
    duration: Seconds
    num_frames: int


class Reader(Protocol):
    """Reader of the utterances of one set."""

    def read(self, utt: Listed, epoch: int | None) -> Example:
        """Return one utterance with the augmentation of ``epoch``; None: without augmentation.

        Raises:
            DataError: if it cannot be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Table:
    """List of utterances in columns, sorted by id (N rows)."""

    ids: Strings
    durations_N: np.ndarray
    """Duration (seconds), float64."""
    num_frames_N: np.ndarray
    """Number of frames of the inputs, uint32."""
    texts: Strings | None
    """Transcripts as in the file ``text``; None if there are none."""
    has_words_N: np.ndarray
    """Whether the transcript has words."""
    non_speech_N: np.ndarray
    """Whether the utterance belongs to a non-speech set."""

    @classmethod
    def of(cls, ids: StringWriter, durations: array, num_frames: array, texts: StringWriter, words: array) -> "Table":  # type: ignore[type-arg]
        """Return the columns of one set; without transcripts, ``texts`` and ``words`` are empty."""
        number, has_texts = len(durations), len(words) > 0
        has_words_N = np.frombuffer(words, bool) if has_texts else np.zeros(number, bool)
        return cls(
            ids=ids.finish(),
            durations_N=np.frombuffer(durations, np.float64),
            num_frames_N=np.frombuffer(num_frames, np.uint32),
            texts=texts.finish() if has_texts else None,
            has_words_N=has_words_N,
            non_speech_N=np.full(number, has_texts and not has_words_N.any()),
        )


class SpeechDataset(Dataset[Example]):
    """Utterances by id: ``dataset["1272-128104-0000"]``.

    An utterance is read on access, from files opened for each access, so any number of worker processes may share a
    dataset. Transcripts, durations and lengths are in memory.

    Args:
        where: name of the dataset in messages.
        table: list of the utterances.
        readers: one reader for each set.
        transcript: case of the transcripts.
        sets_N: index of the reader of each utterance; None: 0.
        rows_N: row of each utterance in its own set; None: its row in ``table``.
        contexts: contexts of utterances, in the case of the transcripts; None: no utterance has one.
    """

    def __init__(
        self,
        where: str,
        table: Table,
        readers: Sequence[Reader],
        transcript: TranscriptCase,
        sets_N: np.ndarray | None = None,
        rows_N: np.ndarray | None = None,
        contexts: Mapping[str, str] | None = None,
    ) -> None:
        self.contexts = contexts or {}
        self.languages = [""] * len(readers)
        """English name of the language of each set, for prompts with a place for it."""
        self.where, self.table, self.transcript = where, table, transcript
        self.readers, self._sets_N, self._rows_N = readers, sets_N, rows_N
        self.utt_ids = table.ids
        self.num_frames = Numbers(table.ids, table.num_frames_N)
        self.durations = Numbers(table.ids, table.durations_N)
        self.texts: Texts | None = None
        """Transcripts; None if there are none (decoding does not need them)."""
        if table.texts is not None:
            self.texts = Texts(table.ids, table.texts, functools.partial(change_case, transcript=transcript))

    def __len__(self) -> int:
        return len(self.utt_ids)

    def __getitem__(self, utt_id: str) -> Example:
        """Read one utterance without augmentation; see ``Reader.read``."""
        return self.read(utt_id, None)

    def read(self, utt_id: str, epoch: int | None) -> Example:
        """Read one utterance with the augmentation of ``epoch``; see ``Reader.read``."""
        row = self.utt_ids.place(utt_id)
        text = "" if self.texts is None else self.texts.at(row)
        own_row = row if self._rows_N is None else int(self._rows_N[row])
        duration, num_frames = self.table.durations_N[row].item(), self.table.num_frames_N[row].item()
        example = self.readers[self.set_of(row)].read(Listed(utt_id, own_row, text, duration, num_frames), epoch)
        return replace(example, context=self.contexts.get(utt_id, ""), language=self.languages[self.set_of(row)])

    def set_of(self, row: int) -> int:
        """Return the index of the set of an utterance."""
        return 0 if self._sets_N is None else int(self._sets_N[row])

    @property
    def is_non_speech(self) -> bool:
        """Whether the transcripts of all utterances are empty."""
        return bool(self.table.non_speech_N.all())

    def check(self, fingerprint: dict[str, Any]) -> None:
        """Check that the inputs are those that a model expects.

        Raises:
            DataError: if they are not.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a text that differs between different inputs."""
        raise NotImplementedError


def combine_datasets(datasets: Sequence[SpeechDataset]) -> SpeechDataset:
    """Return the union of datasets, sorted by utterance id.

    Raises:
        DataError: if an utterance is in two of them.
    """
    if len(datasets) == 1:
        return datasets[0]
    sets, rows = array("H"), array("I")
    ids, texts, last = StringWriter(), StringWriter(), ""
    twice: dict[int, list[str]] = {}
    has_texts = all(one.texts is not None for one in datasets)
    numbered = (zip(one.utt_ids, itertools.repeat(k), range(len(one)), strict=False) for k, one in enumerate(datasets))
    for utt_id, number, row in heapq.merge(*numbered):
        if utt_id == last:
            twice.setdefault(number, []).append(utt_id)
        last = utt_id
        ids.append(utt_id)
        sets.append(number)
        rows.append(row)
        if has_texts:
            own = datasets[number].table.texts
            assert own is not None
            texts.append(own[row])
    if twice:
        number = min(twice)
        raise DataError(
            f"{datasets[number].where}: {len(twice[number])} utterances are in another set, too, the first "
            f"{twice[number][0]}"
        )
    sets_N, rows_N = np.frombuffer(sets, np.uint16), np.frombuffer(rows, np.uint32)
    order_N = np.argsort(np.lexsort((rows_N, sets_N)))  # rows of the concatenated sets

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(one.table, name) for one in datasets])[order_N]

    table = Table(
        ids=ids.finish(),
        durations_N=column("durations_N"),
        num_frames_N=column("num_frames_N"),
        texts=texts.finish() if has_texts else None,
        has_words_N=column("has_words_N"),
        non_speech_N=column("non_speech_N"),
    )
    where = " + ".join(one.where for one in datasets)
    readers = [one.readers[0] for one in datasets]
    contexts = {utt_id: context for one in datasets for utt_id, context in one.contexts.items()}
    combined = SpeechDataset(where, table, readers, datasets[0].transcript, sets_N, rows_N, contexts)
    combined.languages = [one.languages[0] for one in datasets]
    return combined


def change_case(text: str, transcript: TranscriptCase) -> str:
    """Return a transcript unchanged, in lower case, or as a sentence."""
    if transcript == "as_is":
        return text
    if transcript == "lower":
        return text.lower()
    return re.sub(r"^\W*\w", lambda match: match[0].upper(), text.lower(), count=1)


def select_for_training(
    dataset: SpeechDataset, config: DataConfig, skipped_path: str | Path | None = None
) -> tuple[np.ndarray, dict[str, str]]:
    """Select the utterances to train on.

    Utterances with empty transcripts are skipped, except in a non-speech set, where all transcripts are empty.

    Args:
        dataset: dataset with transcripts.
        config: minimum and maximum duration.
        skipped_path: file to list the skipped utterances in, ``utt_id reason`` per line; their number is printed.
            None, on all ranks but one: write and print nothing.

    Returns:
        The rows of the selected utterances, and the reason for each skipped utterance.

    Raises:
        DataError: if there are no transcripts, no utterance is left, or all transcripts are empty.
    """
    if dataset.texts is None:
        raise DataError(
            f"{dataset.where}: found no file text, expected transcripts for training; add it and run stage 2"
        )
    table = dataset.table
    reasons = {
        f"longer than {config.max_duration} s": table.durations_N > config.max_duration,
        f"shorter than {config.min_duration} s": table.durations_N < config.min_duration,
        "empty transcript": ~table.has_words_N & ~table.non_speech_N,
    }
    skipped: dict[str, str] = {}
    for reason, is_so_N in reasons.items():
        for row in np.flatnonzero(is_so_N):
            skipped.setdefault(dataset.utt_ids[int(row)], reason)
    kept_N = np.flatnonzero(~np.logical_or.reduce(list(reasons.values()))).astype(np.int32)
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(skipped.values()).items())
    summary = f"{len(skipped)} of {len(dataset)} utterances skipped" + (f" ({counts})" if skipped else "")
    if skipped_path is not None:
        write_table(skipped_path, skipped)
        taught = int(table.non_speech_N[kept_N].sum())
        wordless = f"; {taught} of the others are non-speech" if taught else ""
        print(f"{dataset.where}: {summary}; listed in {skipped_path}{wordless}", flush=True)
    if not len(kept_N):
        raise DataError(f"{dataset.where}: no utterance is left to train on: {summary}")
    if table.non_speech_N[kept_N].all():
        raise DataError(f"{dataset.where}: all transcripts are empty, expected some with words; see its text")
    return kept_N, skipped

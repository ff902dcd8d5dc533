"""A dataset over the audio of a data directory; features are extracted when an utterance is read."""

import math
import os
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from speechllm.data.audio.read import read_audio
from speechllm.data.columns import StringWriter
from speechllm.data.config import TranscriptCase
from speechllm.data.context import context_case
from speechllm.data.dataset import Example, Listed, SpeechDataset, Table
from speechllm.data.kaldi.contents import audio_fingerprint, read_contents
from speechllm.data.kaldi.data_dir import Utterance, iter_utterances
from speechllm.errors import DataError
from speechllm.interfaces import Frontend

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Maps samples_N at the frontend's rate, and a generator of the utterance's own, to augmented samples_N."""


class AudioDataset(SpeechDataset):
    """Utterances of a data directory without a dump.

    Args:
        data_dir: Kaldi data directory.
        frontend: extractor of the features.
        transcript: case of the transcripts.
        change: augmentation of utterances read for an epoch; None: no augmentation.
        seed: seed of the augmentation, combined with epoch and utterance id.

    Raises:
        DataError: as ``read_data_dir``.
    """

    def __init__(
        self,
        data_dir: str | Path,
        frontend: Frontend,
        transcript: TranscriptCase = "as_is",
        change: Change | None = None,
        seed: int = 0,
    ) -> None:
        self.data_dir = Path(data_dir)
        ids, texts, words = StringWriter(), StringWriter(), array("b")
        durations, num_frames = array("d"), array("I")
        contexts: dict[str, str] = {}
        recordings = _Recordings(self.data_dir, frontend, change, seed)
        for utt in iter_utterances(self.data_dir, need_text=False):
            ids.append(utt.utt_id)
            recordings.append(utt)
            durations.append(utt.duration)
            num_frames.append(math.ceil(utt.duration * frontend.frame_rate))
            if utt.context:
                contexts[utt.utt_id] = context_case(utt.context, transcript)
            if utt.text is not None:
                texts.append(utt.text)
                words.append(bool(utt.text))
        recordings.finish()
        table = Table.of(ids, durations, num_frames, texts, words)
        super().__init__(str(data_dir), table, [recordings], transcript, contexts=contexts)

    def check(self, fingerprint: dict[str, Any]) -> None:
        """Do nothing: the features are always from the frontend."""

    def fingerprint(self) -> str:
        """Return a fingerprint of the utterances and of the sizes and times of the audio files."""
        contents = read_contents(self.data_dir)
        return f"{contents.fingerprint} {audio_fingerprint(contents.files)}"


class _Recordings:
    """Reader of utterances from recordings; stores 20 bytes per utterance, and each file name without its folder."""

    def __init__(self, data_dir: Path, frontend: Frontend, change: Change | None, seed: int) -> None:
        self._data_dir, self._frontend, self._change, self._seed = data_dir, frontend, change, seed
        self._folders: dict[str, int] = {}
        self._folder_of, self._names = array("I"), StringWriter()
        self._numbers: dict[str, int] = {}  # of recordings with segments
        self._recording_of, self._starts, self._ends = array("I"), array("d"), array("d")

    def append(self, utt: Utterance) -> None:
        """Add an utterance."""
        number = self._numbers.get(utt.recording, len(self._folder_of)) if utt.recording else len(self._folder_of)
        if number == len(self._folder_of):
            folder, name = os.path.split(str(utt.path))
            self._folder_of.append(self._folders.setdefault(folder, len(self._folders)))
            self._names.append(name)
        if utt.recording:
            self._numbers[utt.recording] = number
            self._recording_of.append(number)
            self._starts.append(utt.start)
            self._ends.append(math.inf if utt.end is None else utt.end)

    def finish(self) -> None:
        """Complete the list."""
        self._files = self._names.finish()
        self._folder_names = list(self._folders)
        self._numbers.clear()

    def read(self, utt: Listed, epoch: int | None) -> Example:
        """Read the samples of an utterance, augment them if ``epoch`` is given, and extract the features.

        Raises:
            DataError: if the audio cannot be read; it names the utterance.
        """
        number, start, end = utt.row, 0.0, math.inf
        if self._recording_of:
            number, start, end = self._recording_of[utt.row], self._starts[utt.row], self._ends[utt.row]
        path = Path(self._folder_names[self._folder_of[number]], self._files[number])
        try:
            samples_N = read_audio(path, self._frontend.sample_rate, start, None if end == math.inf else end)
        except DataError as error:
            raise DataError(f"{self._data_dir}: {utt.utt_id}: {error}") from error
        duration = utt.duration
        if self._change is not None and epoch is not None:
            rng = np.random.default_rng([self._seed, epoch, zlib.crc32(utt.utt_id.encode())])
            samples_N = self._change(samples_N, rng)
            duration = len(samples_N) / self._frontend.sample_rate
        return Example(utt.utt_id, self._frontend.extract(samples_N), utt.text, duration)

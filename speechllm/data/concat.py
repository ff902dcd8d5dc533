"""Random concatenation of training utterances.

It reduces deletions (arXiv 2309.13963, section 3): without it, a Q-Former learns to ignore the end of its window.
Utterances are concatenated differently in each epoch. Each utterance begins on a hop boundary, since the silence before
it is rounded up to whole frames. Concatenated features therefore equal the features of concatenated samples, except for
frames whose analysis window crosses a boundary.
"""

import math
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from speechllm.data.columns import Numbers
from speechllm.data.config import ConcatOptions
from speechllm.data.context import join_contexts
from speechllm.data.dataset import Example, SpeechDataset, change_case
from speechllm.data.spec_augment import SpecAugment
from speechllm.interfaces import Frontend, Seconds

SEPARATOR = " "  # between the ids of concatenated utterances; no id contains it


class Groups(NamedTuple):
    """Utterances (N) in groups (G), sorted by the first utterance of each."""

    order_N: np.ndarray
    """Indices of the utterances; those of a group are contiguous."""
    bounds_G2: np.ndarray
    """Start and end of each group in ``order_N``."""
    lengths_G: np.ndarray
    """Duration of each group (seconds)."""


def draw_concatenated(
    lengths_N: np.ndarray, options: ConcatOptions, silence: Seconds, rng: np.random.Generator
) -> Groups:
    """Draw groups of utterances; every utterance occurs once.

    Args:
        lengths_N: duration of each utterance.
        options: probability and maximum duration of concatenation.
        silence: silence between two utterances, rounded up to whole frames.
        rng: random generator of order and groups.
    """
    order_N = rng.permutation(len(lengths_N)).astype(np.int32)
    starts, lengths = array("i"), array("d")
    total, goes_on = 0.0, False
    for place, length in enumerate(lengths_N[order_N]):
        longer = total + silence + length
        if goes_on and longer <= options.duration:
            total = longer
            lengths[-1] = total
            continue
        starts.append(place)
        total, goes_on = length, rng.random() < options.probability
        lengths.append(total)
    starts_G = np.array(starts)
    by_first_G = np.argsort(order_N[starts_G])
    bounds_G2 = np.stack([starts_G, np.append(starts_G[1:], len(order_N))], 1).astype(np.int32)
    return Groups(order_N, bounds_G2[by_first_G], np.array(lengths)[by_first_G])


class ConcatenatedDataset(Dataset[Example]):
    """Training utterances, alone or concatenated: ``dataset["first second third"]`` is one example.

    Args:
        dataset: utterances; features, not encoder states, if ``options`` is given.
        options: silence between utterances; None: no concatenation.
        frontend: frontend of the features.
        masks: SpecAugment of each utterance; None: no masks.
        stretch: largest ratio of an utterance's duration after augmentation to the one before.
    """

    def __init__(
        self,
        dataset: SpeechDataset,
        options: ConcatOptions | None,
        frontend: Frontend,
        masks: SpecAugment | None = None,
        stretch: float = 1.0,
    ) -> None:
        self._dataset, self._masks, self._stretch = dataset, masks, stretch
        self._concatenates = options is not None
        self._frame_rate = frontend.frame_rate
        self._silence_frames = math.ceil(options.silence * frontend.frame_rate) if options else 0
        self._silence_value = frontend.silence_value
        self.silence: Seconds = self._silence_frames / frontend.frame_rate
        """Silence between two utterances, rounded up to whole frames (seconds)."""

    def lengths(self, rows_N: np.ndarray) -> Numbers:
        """Return the largest durations of single utterances, rounded up to whole frames if they are concatenated."""
        table = self._dataset.table
        values_N = table.num_frames_N[rows_N] / self._frame_rate if self._concatenates else table.durations_N[rows_N]
        return Numbers(table.ids.take(rows_N), values_N * self._stretch)

    def texts(self, rows_N: np.ndarray) -> Iterator[str]:
        """Yield transcripts in all possible forms: alone, and after another transcript."""
        assert self._dataset.texts is not None, "training needs transcripts"
        for row in rows_N:
            text = self._dataset.texts.at(int(row))
            yield text
            if self._concatenates:
                yield change_case(f"{text} {text}", self._dataset.transcript)

    def __getitem__(self, key: str) -> Example:
        """Read the utterances of a group and concatenate them, without augmentation."""
        return self.read(key, None)

    def read(self, key: str, epoch: int | None) -> Example:
        """Read the utterances of a group with the augmentation of ``epoch``, and concatenate them."""
        examples = [self._dataset.read(utt_id, epoch) for utt_id in key.split(SEPARATOR)]
        if self._masks is not None and epoch is not None:
            examples = [self._masks(one, epoch) for one in examples]
        if len(examples) == 1:
            return examples[0]
        feature_dim = examples[0].inputs_TF.shape[1]
        silence_TF = np.full((self._silence_frames, feature_dim), self._silence_value, np.float32)
        inputs_TF = np.concatenate([part for one in examples for part in (silence_TF, one.inputs_TF)][1:])
        return Example(
            utt_id=key,
            inputs_TF=inputs_TF,
            text=change_case(" ".join(one.text for one in examples if one.text), self._dataset.transcript),
            duration=len(inputs_TF) / self._frame_rate,
            context=join_contexts(one.context for one in examples),
            language=join_contexts(one.language for one in examples),
        )

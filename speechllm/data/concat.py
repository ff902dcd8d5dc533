"""Utterances joined into longer ones: at random while training, or once and for all, in the order of the audiobook.

Random concatenation is the paper's cure for deletions (arXiv 2309.13963, section 3): it keeps a Q-Former from learning
to ignore the end of its window. It joins what is in the dump, anew every epoch. Each utterance begins on a hop
boundary, since the silence before it is rounded up to whole frames, so the joined features are those of the joined
samples, but for the frames whose window of analysis reaches across the joint. Encoder states are joined as they are:
the encoder has heard each utterance alone.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from torch.utils.data import Dataset

from speechllm.data.config import ConcatOptions
from speechllm.data.dataset import DumpDataset, Example, change_case
from speechllm.interfaces import Frontend, Seconds

JOINT = " "  # stands between the ids of joined utterances, in none of which it can occur


def draw_joined(
    lengths: Mapping[str, Seconds], options: ConcatOptions, silence: Seconds, rng: np.random.Generator
) -> dict[str, Seconds]:
    """Draw which utterances are joined; every utterance occurs once.

    Args:
        lengths: of each utterance.
        options: how often, and up to which length.
        silence: between two utterances, as it will be.
        rng: draws the order, and who is joined.

    Returns:
        The ids of each group, joined by JOINT, to its length.
    """
    joined: dict[str, Seconds] = {}
    ids: list[str] = []
    total, goes_on = 0.0, False
    for utt_id in rng.permutation(sorted(lengths)).tolist():
        longer = total + silence + lengths[utt_id]
        if ids and goes_on and longer <= options.duration:
            ids.append(utt_id)
            total = longer
            continue
        if ids:
            joined[JOINT.join(ids)] = total
        ids, total, goes_on = [utt_id], lengths[utt_id], rng.random() < options.probability
    joined[JOINT.join(ids)] = total
    return joined


class JoinedDataset(Dataset[Example]):
    """A dump in which several utterances can be asked for as one: ``dataset["first second third"]``.

    Args:
        dataset: of features or encoder states.
        options: the silence between utterances; None: none are joined.
        frontend: whose features they are; None: they are encoder states.
    """

    def __init__(self, dataset: DumpDataset, options: ConcatOptions | None, frontend: Frontend | None) -> None:
        self._dataset = dataset
        self._joins = options is not None
        self._frontend = frontend
        self._silence_frames = math.ceil(options.silence * frontend.frame_rate) if options and frontend else 0
        self.silence: Seconds = self._silence_frames / frontend.frame_rate if frontend else 0.0
        """Between two utterances, rounded up to whole frames."""

    def lengths(self, utt_ids: Iterable[str]) -> dict[str, Seconds]:
        """Return the durations of single utterances, as frames count them where features are joined."""
        if not self._joins or self._frontend is None:
            return {utt_id: self._dataset.durations[utt_id] for utt_id in utt_ids}
        return {utt_id: self._dataset.num_frames[utt_id] / self._frontend.frame_rate for utt_id in utt_ids}

    def texts(self, utt_ids: Iterable[str]) -> list[str]:
        """Return transcripts in all the forms that they can take, alone and after another one."""
        assert self._dataset.texts is not None, "training needs transcripts"
        single = [self._dataset.texts[utt_id] for utt_id in utt_ids]
        if not self._joins:
            return single
        return single + [change_case(f"{text} {text}", self._dataset.transcript) for text in single]

    def __getitem__(self, key: str) -> Example:
        """Read the utterances of a group and join them."""
        examples = [self._dataset[utt_id] for utt_id in key.split(JOINT)]
        if len(examples) == 1:
            return examples[0]
        return Example(
            utt_id=key,
            speaker=examples[0].speaker,
            inputs_TF=np.concatenate(self._with_silence([one.inputs_TF for one in examples])),
            text=change_case(" ".join(one.text for one in examples), self._dataset.transcript),
            duration=sum(self.lengths(key.split(JOINT)).values()) + self.silence * (len(examples) - 1),
        )

    def _with_silence(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Return them with silence between them, if they are features."""
        if self._frontend is None:
            return inputs
        silence_TF = np.full((self._silence_frames, inputs[0].shape[1]), self._frontend.silence_value, inputs[0].dtype)
        return [part for one_TF in inputs for part in (silence_TF, one_TF)][1:]

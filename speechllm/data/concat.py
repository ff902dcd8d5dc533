"""Utterances joined into longer ones: at random while training, or once and for all, in the order of the audiobook.

Random concatenation is the paper's cure for deletions (arXiv 2309.13963, section 3): it keeps a Q-Former from learning
to ignore the end of its window. It joins what is in the dump, anew every epoch. Each utterance begins on a hop
boundary, since the silence before it is rounded up to whole frames, so the joined features are those of the joined
samples, but for the frames whose window of analysis reaches across the joint.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from torch.utils.data import Dataset

from speechllm.data.config import ConcatOptions
from speechllm.data.dataset import DumpDataset, Example, change_case
from speechllm.interfaces import Frontend, Seconds

JOINT = " "  # stands between the ids of joined utterances, in none of which it can occur


def draw_concatenated(
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


class ConcatenatedDataset(Dataset[Example]):
    """A dump in which several utterances can be asked for as one: ``dataset["first second third"]``.

    Args:
        dataset: of features, if any are to be joined.
        options: the silence between utterances; None: none are joined.
        frontend: whose features they are.
    """

    def __init__(self, dataset: DumpDataset, options: ConcatOptions | None, frontend: Frontend) -> None:
        self._dataset = dataset
        self._joins = options is not None
        self._frame_rate = frontend.frame_rate
        self._silence_frames = math.ceil(options.silence * frontend.frame_rate) if options else 0
        self._silence_value = frontend.silence_value
        self.silence: Seconds = self._silence_frames / frontend.frame_rate
        """Between two utterances, rounded up to whole frames."""

    def lengths(self, utt_ids: Iterable[str]) -> dict[str, Seconds]:
        """Return the durations of single utterances, as frames count them where they are joined."""
        if not self._joins:
            return {utt_id: self._dataset.durations[utt_id] for utt_id in utt_ids}
        return {utt_id: self._dataset.num_frames[utt_id] / self._frame_rate for utt_id in utt_ids}

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
        feature_dim = examples[0].inputs_TF.shape[1]
        silence_TF = np.full((self._silence_frames, feature_dim), self._silence_value, np.float32)
        inputs_TF = np.concatenate([part for one in examples for part in (silence_TF, one.inputs_TF)][1:])
        return Example(
            utt_id=key,
            inputs_TF=inputs_TF,
            text=change_case(" ".join(one.text for one in examples if one.text), self._dataset.transcript),
            duration=len(inputs_TF) / self._frame_rate,
        )

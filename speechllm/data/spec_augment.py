"""SpecAugment (Park et al., 2019, arXiv 1904.08779): masks over frames and over features of a training utterance.

Masked values are replaced by the utterance's mean of the feature, which equals zero after mean normalisation. Time
warping is not implemented; the paper finds that it contributes least.
"""

import zlib
from dataclasses import replace

import numpy as np

from speechllm.data.config import SpecAugmentOptions
from speechllm.data.dataset import Example
from speechllm.errors import ConfigError
from speechllm.interfaces import Frontend


class SpecAugment:
    """Masks determined by seed, epoch and utterance id, so that they are the same in every process.

    Args:
        options: number and width of the masks.
        frontend: frontend of the features.
        seed: random seed.

    Raises:
        ConfigError: if a mask could cover all features.
    """

    def __init__(self, options: SpecAugmentOptions, frontend: Frontend, seed: int) -> None:
        if options.frequency_masks and options.frequency_width >= frontend.feature_dim:
            raise ConfigError(
                f"data.spec_augment.frequency_width: found {options.frequency_width}, expected less than the number of "
                f"features, {frontend.feature_dim}; lower it, or set frequency_masks: 0"
            )
        self._options, self._seed = options, seed
        self._frame_rate = frontend.frame_rate

    def __call__(self, example: Example, epoch: int) -> Example:
        """Return an utterance with the masks of ``epoch``."""
        rng = np.random.default_rng([self._seed, epoch, zlib.crc32(example.utt_id.encode()), 1])
        inputs_TF = example.inputs_TF.copy()
        mean_F = inputs_TF.mean(0)
        num_frames, num_features = inputs_TF.shape
        longest = round(min(self._options.time_width * self._frame_rate, self._options.time_share * num_frames))
        for _ in range(self._options.time_masks):
            width = int(rng.integers(longest + 1))
            start = int(rng.integers(num_frames - width + 1))
            inputs_TF[start : start + width] = mean_F
        for _ in range(self._options.frequency_masks):
            width = int(rng.integers(self._options.frequency_width + 1))
            start = int(rng.integers(num_features - width + 1))
            inputs_TF[:, start : start + width] = mean_F[start : start + width]
        return replace(example, inputs_TF=inputs_TF)

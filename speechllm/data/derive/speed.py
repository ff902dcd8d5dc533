"""A copy of a data directory that is spoken faster or slower, and so higher or lower: Kaldi's speed perturbation.

Ko et al. (2015), "Audio augmentation for speech recognition". Frozen encoder states can be dumped of the copies, which
is not so of what is changed in each training step.
"""

from pathlib import Path

import numpy as np

from speechllm.data.audio.resample import resample
from speechllm.data.config import MAX_SPEED, MIN_SPEED
from speechllm.data.derive._changed_audio import SAMPLE_RATE, copy_changed
from speechllm.errors import DataError


def perturb_speed(source: str | Path, target: str | Path, factor: float) -> bool:
    """Write the utterances of ``source`` at ``factor`` times their speed, and their audio into ``<target>_audio``.

    Utterance and speaker ids get the prefix ``sp<factor>-``. A run that was cut off goes on where it stopped.

    Args:
        source: data directory.
        target: data directory.
        factor: 0.9 is slower and lower, 1.1 faster and higher.

    Returns:
        Whether anything was written: not if the target is there already.

    Raises:
        DataError: if the factor is no speed of speech.
    """
    if not MIN_SPEED <= factor <= MAX_SPEED or factor == 1:
        expected = f"{MIN_SPEED} to {MAX_SPEED} and not 1, which is the set itself; leave it out"
        raise DataError(f"{target}: found the speed {factor}, expected {expected}")

    def change(samples_N: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return resample(samples_N, round(SAMPLE_RATE * factor), SAMPLE_RATE)

    return copy_changed(source, target, f"sp{factor:g}", change, by=f"perturb_speed {factor}")

"""Speed perturbation of a data directory, as in Kaldi: it changes tempo and pitch.

Ko et al. (2015), "Audio augmentation for speech recognition". Unlike augmentation during training, the copies allow
frozen encoder states to be dumped.
"""

from pathlib import Path

import numpy as np

from speechllm.data.audio.resample import resample
from speechllm.data.config import MAX_SPEED, MIN_SPEED
from speechllm.data.derive._changed_audio import SAMPLE_RATE, copy_changed
from speechllm.errors import DataError


def perturb_speed(source: str | Path, target: str | Path, factor: float) -> bool:
    """Write the utterances of ``source`` at ``factor`` times their speed, and their audio to ``<target>_audio``.

    Utterance and speaker ids get the prefix ``sp<factor>-``. An interrupted run is continued.

    Args:
        source: data directory.
        target: data directory.
        factor: speed; 0.9 is slower and lower, 1.1 faster and higher.

    Returns:
        Whether anything was written; False if the target is complete.

    Raises:
        DataError: if the factor is 1 or out of range.
    """
    if not MIN_SPEED <= factor <= MAX_SPEED or factor == 1:
        expected = f"{MIN_SPEED} to {MAX_SPEED} except 1, which is the set itself; correct the speed"
        raise DataError(f"{target}: found the speed {factor}, expected {expected}")

    def change(samples_N: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return resample(samples_N, round(SAMPLE_RATE * factor), SAMPLE_RATE)

    return copy_changed(source, target, f"sp{factor:g}", change, by=f"perturb_speed {factor}")

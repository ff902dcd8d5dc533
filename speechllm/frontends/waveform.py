"""The samples themselves, for encoders of waveforms: HuBERT, WavLM, wav2vec 2.0."""

from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLE_RATE = 16000  # Hz


@dataclass(frozen=True, kw_only=True)
class Config:
    """There is nothing to choose."""

    def build(self) -> "Waveform":
        """Build the frontend."""
        return Waveform()


class Waveform:
    """Samples at 16 kHz, each a frame of one feature; normalised by the encoder."""

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE
    feature_dim = 1
    silence_value = 0.0

    def extract(self, samples_N: np.ndarray) -> np.ndarray:
        """Return the samples as feats_TF, float32, with T = N."""
        assert len(samples_N) > 0, "no samples"
        return np.ascontiguousarray(samples_N, np.float32)[:, None]

    def fingerprint(self) -> dict[str, Any]:
        """Return what a dump must have in common with the model that reads it."""
        return {"type": "waveform", "sample_rate": SAMPLE_RATE}

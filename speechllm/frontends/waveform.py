"""Samples as features, for encoders of waveforms: HuBERT, WavLM, wav2vec 2.0."""

from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples


@dataclass(frozen=True, kw_only=True)
class Config:
    """Empty section: the frontend has no options."""

    def build(self) -> "Waveform":
        """Build the frontend."""
        return Waveform()


class Waveform:
    """Frontend that returns samples at 16 kHz as frames of one feature; the encoder normalises them."""

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE
    feature_dim = 1
    silence_value = 0.0

    def extract(self, samples_N: np.ndarray) -> np.ndarray:
        """Return the samples as feats_TF, float32, with T = N."""
        assert len(samples_N) > 0, "no samples"
        return np.ascontiguousarray(samples_N, np.float32)[:, None]

    def levels(self, feats_TF: np.ndarray) -> np.ndarray:
        """Return the level (dB) of every 10 ms of samples, the last 10 ms with zeros after the end."""
        samples_N = np.pad(feats_TF[:, 0], (0, -len(feats_TF) % HOP))
        return 10 * np.log10(np.square(samples_N).reshape(-1, HOP).mean(1) + 1e-10)

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a dump and a model must share."""
        return {"type": "waveform", "sample_rate": SAMPLE_RATE}

"""Synthetic signals at 16 kHz."""

import numpy as np


def signal(kind: str, num_samples: int) -> np.ndarray:
    """Return samples_N, float32, of the kind ``noise``, ``quiet`` or ``speech-like``."""
    rng = np.random.default_rng(num_samples)
    noise = rng.normal(size=num_samples)
    seconds = np.arange(num_samples) / 16000
    voiced = np.sin(2 * np.pi * 140 * seconds * (1 + 0.1 * np.sin(6 * seconds))) * (np.sin(2 * np.pi * 3 * seconds) > 0)
    signals = {"noise": 0.1 * noise, "quiet": 1e-4 * noise, "speech-like": 0.3 * voiced + 1e-3 * noise}
    return signals[kind].astype(np.float32)

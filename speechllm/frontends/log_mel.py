"""Whisper's log-mel features (Radford et al., 2022, arXiv 2212.04356, section 2.2), with 80 or 128 bins.

Whisper pads speech to 30 s with zeros, computes log10 mel energies, clamps them to at least their maximum minus 8, and
maps x to (x + 4) / 4. ``extract`` stops before the maximum is computed, and returns only frames that overlap the
speech; all other frames are exactly log10(1e-10) = -10. The encoder applies the other steps to each of its windows, so
that features of concatenated utterances equal those of concatenated audio.

There is one difference from Whisper: if speech fills a window (30 s, or up to 2.5 ms less), the last frame is computed
with zeros after the end of the speech; Whisper computes it with reflected speech.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchaudio
from torch.nn.functional import pad

from speechllm.errors import ConfigError

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples
STFT_SIZE = 400  # samples
SILENCE = -10.0  # log10 of the smallest energy


@dataclass(frozen=True, kw_only=True)
class Config:
    """Resolution of the features."""

    num_mels: int = 80
    """Number of mel bins: 128 for Whisper large-v3, otherwise 80."""

    def __post_init__(self) -> None:
        if self.num_mels < 1:
            raise ConfigError(f"num_mels: found {self.num_mels}, expected that of the Whisper model, 80 or 128")

    def build(self) -> "LogMel":
        """Build the frontend."""
        return LogMel(self.num_mels)


class LogMel:
    """Frontend from samples at 16 kHz to log10 mel energies at 100 frames per second."""

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE // HOP
    silence_value = SILENCE

    def __init__(self, num_mels: int) -> None:
        self.feature_dim = num_mels
        self._window = torch.hann_window(STFT_SIZE)
        self._mel_FK = torchaudio.functional.melscale_fbanks(  # K: frequencies of the STFT
            STFT_SIZE // 2 + 1, 0.0, SAMPLE_RATE / 2, num_mels, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        ).T.contiguous()

    def extract(self, samples_N: np.ndarray) -> np.ndarray:
        """Return the log10 mel energies of every frame that overlaps the samples.

        Args:
            samples_N: float32 in [-1, 1], at least one sample.

        Returns:
            feats_TF, float32, at least -10, with T = ceil((N + 200) / 160).
        """
        num_samples = len(samples_N)
        assert num_samples > 0, "no samples"
        num_frames = -(-(num_samples + STFT_SIZE // 2) // HOP)
        # At least half an STFT window of zeros is appended, so the reflection at the end has no influence.
        samples = pad(torch.from_numpy(np.ascontiguousarray(samples_N)), (0, num_frames * HOP - num_samples))
        spectrum_KT = torch.stft(samples, STFT_SIZE, HOP, window=self._window, center=True, return_complex=True)
        energy_KT = torch.view_as_real(spectrum_KT[:, :num_frames]).square().sum(-1)
        feats_FT = (self._mel_FK @ energy_KT).clamp(min=10**SILENCE).log10()
        return feats_FT.T.contiguous().numpy()

    def levels(self, feats_TF: np.ndarray) -> np.ndarray:
        """Return the mean level (dB) of the mel bins of each frame."""
        return 10 * feats_TF.mean(1, dtype=np.float32)

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a dump and a model must share."""
        return {"type": "log_mel", "num_mels": self.feature_dim, "sample_rate": SAMPLE_RATE, "hop": HOP}

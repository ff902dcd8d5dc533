"""Whisper's log-mel features (Radford et al., 2022, arXiv 2212.04356, section 2.2), with 80 or 128 bins.

Whisper pads speech to 30 s with zeros, takes log10 mel energies, raises them to at least their
maximum minus 8, and maps x to (x + 4) / 4. ``extract`` stops before the maximum is taken, and keeps
only the frames that overlap the speech: all others are exactly log10(1e-10) = -10. ``normalize`` does
the rest, so that features of joined utterances come out as those of joined audio would.

One frame of one case differs from Whisper: the last frame of a window that speech fills to its end
(30 s, or up to 2.5 ms less) sees the zeros that follow here, and the reflected speech there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor
from torch.nn.functional import pad

from speechllm.errors import ConfigError

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples
STFT_SIZE = 400  # samples
WINDOW_FRAMES = 3000  # Whisper's window of 30 s
SILENCE = -10.0  # log10 of the smallest energy
DYNAMIC_RANGE = 8.0  # in powers of ten


@dataclass(frozen=True, kw_only=True)
class Config:
    """How fine the features are."""

    num_mels: int = 80
    """Number of mel bins: 128 for Whisper large-v3, 80 for every other Whisper."""

    def __post_init__(self) -> None:
        if self.num_mels < 1:
            raise ConfigError(f"num_mels: found {self.num_mels}, expected 80 or 128, as the Whisper model has")

    def build(self) -> "LogMel":
        """Build the frontend."""
        return LogMel(self.num_mels)


class LogMel:
    """Samples at 16 kHz to log10 mel energies at 100 frames a second."""

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
        # At least half an STFT window of zeros follows, so the reflection at the end is never heard.
        samples = pad(torch.from_numpy(np.ascontiguousarray(samples_N)), (0, num_frames * HOP - num_samples))
        spectrum_KT = torch.stft(samples, STFT_SIZE, HOP, window=self._window, center=True, return_complex=True)
        energy_KT = torch.view_as_real(spectrum_KT[:, :num_frames]).square().sum(-1)
        feats_FT = (self._mel_FK @ energy_KT).clamp(min=10**SILENCE).log10()
        return feats_FT.T.contiguous().numpy()

    def num_windows(self, num_frames: int, window_frames: int = WINDOW_FRAMES) -> int:
        """Return how many windows (of 30 s) hold ``num_frames`` frames from ``extract``.

        The last two frames of ``extract`` reach at most a fraction of a hop beyond the end of the
        speech, so 3002 frames (up to 30.0075 s) are still one window.
        """
        return max(1, -(-(num_frames - 2) // window_frames))

    def valid_frames(self, num_frames: int, segment_frames: int = WINDOW_FRAMES) -> int:
        """Return how many of ``num_frames`` frames from ``extract`` the encoder sees: what fills whole windows."""
        return min(num_frames, segment_frames * self.num_windows(num_frames, segment_frames))

    def normalize(self, feats_TF: Tensor, num_frames: int, segment_frames: int = WINDOW_FRAMES) -> Tensor:
        """Pad with silence to ``num_frames`` frames and normalise every segment as Whisper does its window of 30 s.

        Args:
            feats_TF: from ``extract``, or several of those joined.
            num_frames: length of the result, at least ``valid_frames(T)``.
            segment_frames: length of the segments that the encoder encodes each alone.

        Returns:
            Features (num_frames, F). A last segment that is not full is normalised as if it were padded.
        """
        num_valid = self.valid_frames(len(feats_TF), segment_frames)
        assert num_frames >= num_valid, f"{num_valid} frames do not fit into {num_frames}"
        # Changed in place, which takes half the time of new tensors: training waits for these.
        padded_TF = feats_TF.new_full((num_frames, feats_TF.shape[1]), SILENCE)
        padded_TF[:num_valid] = feats_TF[:num_valid]
        for segment_TF in padded_TF.split(segment_frames):
            segment_TF.clamp_(min=segment_TF.max() - DYNAMIC_RANGE)
        return padded_TF.add_(4.0).div_(4.0)

    def identity(self) -> dict[str, Any]:
        """Return what a dump must have in common with the model that reads it."""
        return {"type": "log_mel", "num_mels": self.feature_dim, "sample_rate": SAMPLE_RATE, "hop": HOP}

"""Whisper's encoder (Radford et al., 2022, arXiv 2212.04356), of any size, for speech of any length.

Speech is encoded in windows of 30 s, the length Whisper was trained on; longer speech takes several
windows whose states are joined. What lies beyond the end of the speech is a choice:

    window   the last window is padded to 30 s with silence, whose states count as speech (the paper)
    masked   the last window is padded to 30 s, and the states of its silence are dropped
    none     only the speech itself is encoded, which is faster by the ratio of the lengths
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from speechllm.base_models import load_base
from speechllm.encoders._layers import train_last
from speechllm.errors import ConfigError
from speechllm.interfaces import Seconds
from speechllm.ranges import at_least

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

WINDOW: Seconds = 30.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which Whisper, and what it sees of the silence after an utterance."""

    path: str
    """Hub id or local directory of a Whisper model."""
    padding: Literal["window", "masked", "none"] = "window"
    """What follows the speech in its last 30 s window: see the module's docstring."""
    segment: Seconds = 30.0
    """Longer speech is cut into segments of this many seconds, encoded each alone; below 30 only at true length."""
    frozen: bool = True
    """Whether the encoder keeps its weights in training."""
    trained_layers: int = 0
    """Number of last layers that are trained although the encoder is frozen (layers)."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        at_least(self, 0, "trained_layers")
        if not 1 <= self.segment <= WINDOW:
            raise ConfigError(f"segment: found {self.segment}, expected 1 to {WINDOW:g} seconds, what Whisper hears")
        if self.segment < WINDOW and self.padding != "none":
            raise ConfigError(
                f"segment: found {self.segment} with padding {self.padding!r}, which fills windows of 30 s; "
                "set padding: none, which encodes segments at their true length"
            )

    def build(self, dtype: torch.dtype = torch.float32) -> "Whisper":
        """Load the weights.

        Raises:
            ConfigError: if ``path`` is no directory and no model of the hub, or holds other weights than its encoder's.
        """
        model = load_base(
            transformers.WhisperModel,
            self.path,
            dtype,
            option="encoder.path",
            kind="a Whisper model",
            unused=("decoder.",),
        )
        return Whisper(
            model.encoder,
            padding=self.padding,
            segment=self.segment,
            frozen=self.frozen,
            trained_layers=self.trained_layers,
        )


class Whisper(nn.Module):
    """Log-mel features at 100 frames a second to states at 50 a second.

    Args:
        encoder: transformers' encoder.
        padding: see the module's docstring.
        segment: seconds that are encoded alone.
        frozen: whether to keep the weights, and dropout off, in training.
        trained_layers: last layers that are trained nevertheless.
    """

    def __init__(
        self, encoder: "WhisperEncoder", *, padding: str, segment: Seconds, frozen: bool, trained_layers: int = 0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.padding = padding
        self.frozen = frozen
        self.output_dim: int = encoder.config.d_model
        self.feature_dim: int = encoder.config.num_mel_bins
        self.frame_rate = encoder.config.max_source_positions / WINDOW
        self.segment_states = round(segment * self.frame_rate)
        self.segment_frames = 2 * self.segment_states
        self.pad_multiple = None if padding == "none" else self.segment_frames
        encoder.requires_grad_(not frozen)
        train_last(encoder.layers, trained_layers)
        self.learns = not frozen or trained_layers > 0
        encoder.embed_positions.requires_grad_(False)

    def train(self, mode: bool = True) -> "Whisper":
        """Keep a frozen encoder in evaluation mode."""
        return super().train(mode and not self.frozen)

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Return the number of states for each number of feature frames."""
        if self.padding == "window":
            windows_B = (lens_B + self.segment_frames - 1).div(self.segment_frames, rounding_mode="floor")
            return windows_B * self.segment_states
        return (lens_B + 1).div(2, rounding_mode="floor")

    def forward(self, feats_BTF: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode normalised log-mel features.

        Args:
            feats_BTF: features; T is a multiple of 3000 unless ``padding`` is ``none``.
            lens_B: number of valid frames.

        Returns:
            states_BLD and the number of valid states of each utterance.
        """
        num_frames = feats_BTF.shape[1]
        assert self.pad_multiple is None or num_frames % self.pad_multiple == 0, "pad to the encoder's pad_multiple"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns):
            if num_frames <= self.segment_frames:
                states_BLD = self._encode_window(feats_BTF, lens_B)
            else:
                states_BLD = self._encode_windows(feats_BTF, lens_B)
        return states_BLD, self.output_lengths(lens_B)

    def _encode_windows(self, feats_BTF: Tensor, lens_B: Tensor) -> Tensor:
        """Encode every window that holds speech on its own; join the states of an utterance in order."""
        batch, num_frames, dim = feats_BTF.shape
        windows = -(-num_frames // self.segment_frames)
        feats_BTF = pad(feats_BTF, (0, 0, 0, windows * self.segment_frames - num_frames))
        feats_WTF = feats_BTF.reshape(batch * windows, self.segment_frames, dim)
        starts = torch.arange(windows, device=lens_B.device) * self.segment_frames
        lens_W = (lens_B[:, None] - starts).clamp(0, self.segment_frames).flatten()
        used = lens_W > 0
        states_WLD = feats_BTF.new_zeros(batch * windows, self.segment_states, self.output_dim)
        states_WLD = states_WLD.to(self.encoder.dtype)
        states_WLD[used] = self._encode_window(feats_WTF[used], lens_W[used])
        return states_WLD.reshape(batch, windows * self.segment_states, self.output_dim)

    def _encode_window(self, feats_BTF: Tensor, lens_B: Tensor) -> Tensor:
        """Encode at most 30 s; with ``padding: none``, frames beyond ``lens_B`` have no influence."""
        encoder, mask_BL = self.encoder, None
        hidden_BDT = feats_BTF.to(encoder.dtype).transpose(1, 2)
        if self.padding == "none":
            valid_B1T = (torch.arange(feats_BTF.shape[1], device=lens_B.device) < lens_B[:, None])[:, None]
            hidden_BDT = gelu(encoder.conv1(hidden_BDT * valid_B1T)) * valid_B1T
            mask_BL = valid_B1T[:, :, ::2][:, None]
        else:
            hidden_BDT = gelu(encoder.conv1(hidden_BDT))
        hidden_BLD = gelu(encoder.conv2(hidden_BDT)).transpose(1, 2)
        hidden_BLD = hidden_BLD + encoder.embed_positions.weight[: hidden_BLD.shape[1]]
        for layer in encoder.layers:
            hidden_BLD = layer(hidden_BLD, mask_BL)
        return encoder.layer_norm(hidden_BLD)

    def identity(self) -> dict[str, Any]:
        """Return what a dump of states must have in common with the model that reads it."""
        return {"type": "whisper", "padding": self.padding, "states": self.segment_states, "dim": self.output_dim}

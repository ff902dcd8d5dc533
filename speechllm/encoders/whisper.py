"""Whisper's encoder (Radford et al., 2022, arXiv 2212.04356), of any size, for speech of any length.

Speech is encoded in windows of 30 s, the length in Whisper's training; the states of the windows of longer speech are
concatenated. The log10 mel energies of each window are normalised here, as in Whisper: raised to at least their
maximum minus 8, then mapped from x to (x + 4) / 4. The option ``padding`` selects the end of the last window:

    window   the last window is padded to 30 s with silence; the states of the silence count as speech (the paper)
    masked   the last window is padded to 30 s, and the states of the silence are dropped
    none     only the speech is encoded, in a shorter time
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from speechllm.base_models import load_whisper
from speechllm.encoders._layers import check_trained, train_last
from speechllm.errors import ConfigError
from speechllm.interfaces import Seconds
from speechllm.lengths import ceil_div, length_mask, map_segments
from speechllm.lora import LoraOptions, merged, with_lora

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

WINDOW: Seconds = 30.0
SILENCE = -10.0  # log10 mel energy of zero samples
DYNAMIC_RANGE = 8.0  # of a window, in powers of ten


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the encoder."""

    path: str
    """Hub id or local directory of a Whisper model."""
    padding: Literal["window", "masked", "none"] = "window"
    """End of the last 30 s window: see the module's docstring."""
    segment: Seconds = 30.0
    """Longest segment to encode at once (seconds); below 30: padding none."""
    frozen: bool = True
    """Whether the encoder keeps its weights in training."""
    trained_layers: int = 0
    """Number of last layers to train in a frozen encoder (layers)."""
    lora: LoraOptions | None = None
    """LoRA adapters to train in a frozen encoder; null: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_trained(self.frozen, self.trained_layers, self.lora)
        if not 1 <= self.segment <= WINDOW:
            raise ConfigError(f"segment: found {self.segment}, expected 1 to {WINDOW:g} s, the window of Whisper")
        if self.segment < WINDOW and self.padding != "none":
            raise ConfigError(
                f"segment: found {self.segment} with padding {self.padding!r}, which fills windows of 30 s; "
                "set padding: none, to encode segments without padding"
            )

    def build(self, dtype: torch.dtype = torch.float32) -> "Whisper":
        """Load the weights.

        Raises:
            ConfigError: if ``path`` is no directory and no model of the hub, or lacks weights of the encoder.
        """
        return Whisper(
            load_whisper("encoder", self.path, dtype, option="encoder.path"),
            padding=self.padding,
            segment=self.segment,
            frozen=self.frozen,
            trained_layers=self.trained_layers,
            lora=self.lora,
        )


class Whisper(nn.Module):
    """Encoder from log-mel features, 100 frames per second, to states, 50 per second.

    Args:
        encoder: encoder of transformers.
        padding: see the module's docstring.
        segment: length of a segment (seconds).
        frozen: whether to keep the weights in training, with dropout off.
        trained_layers: number of last layers that are trained nevertheless.
        lora: adapters that are trained nevertheless, or None.
    """

    def __init__(
        self,
        encoder: "WhisperEncoder",
        *,
        padding: str,
        segment: Seconds,
        frozen: bool,
        trained_layers: int = 0,
        lora: LoraOptions | None = None,
    ) -> None:
        super().__init__()
        self.path: str = encoder.name_or_path
        self.padding = padding
        self.frozen = frozen
        self.output_dim: int = encoder.config.d_model
        self.feature_dim: int = encoder.config.num_mel_bins
        self.frame_rate = encoder.config.max_source_positions / WINDOW
        self.segment_states = round(segment * self.frame_rate)
        self.segment_frames = 2 * self.segment_states
        encoder.requires_grad_(not frozen)
        train_last(encoder.layers, trained_layers)
        encoder.embed_positions.requires_grad_(False)
        self.has_lora = lora is not None
        self.learns = not frozen or trained_layers > 0 or self.has_lora
        self.encoder = encoder if lora is None else with_lora(encoder, lora, "encoder.lora")

    def train(self, mode: bool = True) -> "Whisper":
        """Keep a frozen encoder without adapters in evaluation mode."""
        return super().train(mode and (not self.frozen or self.has_lora))

    def merge_adapters(self) -> None:
        """Add adapters, if there are any, to the weights that they adapt."""
        if self.has_lora:
            self.encoder, self.has_lora = merged(self.encoder), False

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Return the number of states for each number of feature frames."""
        frames_B = self._encoded_frames(feat_lens_B)
        if self.padding == "window":
            return ceil_div(frames_B, self.segment_frames) * self.segment_states
        return ceil_div(frames_B, 2)

    def padded_duration(self, duration: Seconds) -> Seconds:
        """Return ``duration`` rounded up to full windows, or as it is if ``padding`` is ``none``."""
        if self.padding == "none":
            return duration
        window = self.segment_states / self.frame_rate
        return math.ceil(duration / window) * window

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode log10 mel energies.

        Args:
            feats_BTF: features of the log-mel frontend, any number of frames.
            feat_lens_B: number of valid frames, at least 1; later frames have no influence.

        Returns:
            states_BLD and the number of valid states of each utterance.
        """
        num_frames = int(self._encoded_frames(torch.tensor(feats_BTF.shape[1])))
        frames_B = self._encoded_frames(feat_lens_B)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns):
            states_BLD = map_segments(self._encode_segment, feats_BTF[:, :num_frames], frames_B, self.segment_frames)
        return states_BLD, self.output_lengths(feat_lens_B)

    def normalize(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> Tensor:
        """Return normalised features of at most one segment, padded to a full one unless ``padding`` is none.

        Args:
            feats_BTF: log10 mel energies, at most ``segment_frames`` frames.
            feat_lens_B: number of valid frames.
        """
        missing = 0 if self.padding == "none" else self.segment_frames - feats_BTF.shape[1]
        feats_BTF = feats_BTF.float().masked_fill(~length_mask(feat_lens_B, feats_BTF.shape[1])[..., None], SILENCE)
        feats_BTF = pad(feats_BTF, (0, 0, 0, missing), value=SILENCE)
        floor_B11 = feats_BTF.amax((1, 2), keepdim=True) - DYNAMIC_RANGE
        return feats_BTF.maximum(floor_B11).add_(4.0).div_(4.0)

    def _encoded_frames(self, feat_lens_B: Tensor) -> Tensor:
        """Return the number of frames to encode.

        The last two frames of the log-mel frontend extend at most a fraction of a hop after the end of the speech:
        3002 frames (up to 30.0075 s) are one window of 3000.
        """
        segments_B = ceil_div(feat_lens_B - 2, self.segment_frames).clamp(min=1)
        return feat_lens_B.minimum(segments_B * self.segment_frames)

    def _encode_segment(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> Tensor:
        """Return states_BLD of one segment per utterance; with padding none, later frames have no influence."""
        encoder, mask_BL = self.encoder, None
        feats_BTF = self.normalize(feats_BTF, feat_lens_B)
        hidden_BDT = feats_BTF.to(encoder.dtype).transpose(1, 2)
        if self.padding == "none":
            valid_B1T = length_mask(feat_lens_B, feats_BTF.shape[1])[:, None]
            hidden_BDT = gelu(encoder.conv1(hidden_BDT * valid_B1T)) * valid_B1T
            mask_BL = valid_B1T[:, :, ::2][
                :, None
            ].contiguous()  # otherwise compiled again for the strides of each batch
        else:
            hidden_BDT = gelu(encoder.conv1(hidden_BDT))
        hidden_BLD = gelu(encoder.conv2(hidden_BDT)).transpose(1, 2)
        hidden_BLD = hidden_BLD + encoder.embed_positions.weight[: hidden_BLD.shape[1]]
        for layer in encoder.layers:
            hidden_BLD = layer(hidden_BLD, mask_BL)
        return encoder.layer_norm(hidden_BLD)

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a dump of states and a model must share."""
        return {"type": "whisper", "padding": self.padding, "states": self.segment_states, "dim": self.output_dim}

"""Whisper's encoder (Radford et al., 2022, arXiv 2212.04356), of any size, for speech of any length.

Speech is encoded in windows of 30 s, the length Whisper was trained on; the states of the windows of longer speech are
concatenated. The log10 mel energies of each window are normalised here, as Whisper does: raised to at least their
maximum minus 8, then mapped from x to (x + 4) / 4. The padding beyond the end of the speech is a choice:

    window   the last window is padded to 30 s with silence, whose states count as speech (the paper)
    masked   the last window is padded to 30 s, and the states of its silence are dropped
    none     only the speech itself is encoded, which is faster by the ratio of the lengths
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from speechllm.base_models import load_base
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
    lora: LoraOptions | None = None
    """LoRA adapters, which are trained although the encoder is frozen; null: none."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        check_trained(self.frozen, self.trained_layers, self.lora)
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
            lora=self.lora,
        )


class Whisper(nn.Module):
    """Log-mel features at 100 frames a second to states at 50 a second.

    Args:
        encoder: transformers' encoder.
        padding: see the module's docstring.
        segment: seconds that are encoded alone.
        frozen: whether to keep the weights, and dropout off, in training.
        trained_layers: last layers that are trained nevertheless.
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
        """Return ``duration``, rounded up to whole windows unless ``padding`` is ``none``."""
        if self.padding == "none":
            return duration
        window = self.segment_states / self.frame_rate
        return math.ceil(duration / window) * window

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode log10 mel energies.

        Args:
            feats_BTF: features as the log-mel frontend extracts them, any number of frames.
            feat_lens_B: number of valid frames, at least 1; frames beyond have no influence.

        Returns:
            states_BLD and the number of valid states of each utterance.
        """
        num_frames = int(self._encoded_frames(torch.tensor(feats_BTF.shape[1])))
        frames_B = self._encoded_frames(feat_lens_B)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns):
            states_BLD = map_segments(self._encode_segment, feats_BTF[:, :num_frames], frames_B, self.segment_frames)
        return states_BLD, self.output_lengths(feat_lens_B)

    def normalize(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> Tensor:
        """Return features of at most one segment, normalised, and padded with silence to a whole one if need be.

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
        """Return the number of frames that fill whole segments.

        The last two frames of the log-mel frontend reach at most a fraction of a hop beyond the end of the speech, so
        3002 frames (up to 30.0075 s) are still one window of 3000.
        """
        segments_B = ceil_div(feat_lens_B - 2, self.segment_frames).clamp(min=1)
        return feat_lens_B.minimum(segments_B * self.segment_frames)

    def _encode_segment(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> Tensor:
        """Return states_BLD of one segment each; with ``padding: none``, only ``feat_lens_B`` frames have influence."""
        encoder, mask_BL = self.encoder, None
        feats_BTF = self.normalize(feats_BTF, feat_lens_B)
        hidden_BDT = feats_BTF.to(encoder.dtype).transpose(1, 2)
        if self.padding == "none":
            valid_B1T = length_mask(feat_lens_B, feats_BTF.shape[1])[:, None]
            hidden_BDT = gelu(encoder.conv1(hidden_BDT * valid_B1T)) * valid_B1T
            mask_BL = valid_B1T[:, :, ::2][:, None].contiguous()  # else compiled for the strides of each batch
        else:
            hidden_BDT = gelu(encoder.conv1(hidden_BDT))
        hidden_BLD = gelu(encoder.conv2(hidden_BDT)).transpose(1, 2)
        hidden_BLD = hidden_BLD + encoder.embed_positions.weight[: hidden_BLD.shape[1]]
        for layer in encoder.layers:
            hidden_BLD = layer(hidden_BLD, mask_BL)
        return encoder.layer_norm(hidden_BLD)

    def fingerprint(self) -> dict[str, Any]:
        """Return what a dump of states must have in common with the model that reads it."""
        return {"type": "whisper", "padding": self.padding, "states": self.segment_states, "dim": self.output_dim}

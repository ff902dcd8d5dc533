"""Self-supervised encoders of waveforms in transformers: HuBERT, WavLM, wav2vec 2.0, for speech of any length.

They were trained on utterances of a few seconds, and the cost of their attention is quadratic in the length, so longer
speech is cut into segments. Segments are encoded separately, and their states are concatenated. Utterances are encoded
at their true length, without padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from speechllm.base_models import load_base, reading
from speechllm.encoders._layers import check_trained, train_last
from speechllm.errors import ConfigError
from speechllm.interfaces import Seconds
from speechllm.lengths import length_mask
from speechllm.lora import LoraOptions, merged, with_lora

SAMPLE_RATE = 16000  # Hz
WAVLM_ATTENTION = {"q_proj", "k_proj", "v_proj", "out_proj"}
"""Linear layers of WavLM with weights that transformers reads directly, without the adapters."""
MODEL_TYPES = ("hubert", "wavlm", "wav2vec2")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base model (HuBERT, WavLM or wav2vec 2.0), segments of long speech, and training."""

    path: str
    """Hub id or local directory of the base model."""
    segment: Seconds = 30.0
    """Length of the segments of long speech, encoded separately (seconds)."""
    frozen: bool = True
    """Whether the encoder keeps its weights in training."""
    trained_layers: int = 0
    """Number of last layers to train in a frozen encoder (layers)."""
    lora: LoraOptions | None = None
    """LoRA adapters to train in a frozen encoder; null: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_trained(self.frozen, self.trained_layers, self.lora)
        if self.segment < 1:
            raise ConfigError(f"segment: found {self.segment} s, expected at least 1 s")

    def build(self, dtype: torch.dtype = torch.float32) -> "HFSpeech":
        """Load the weights.

        Raises:
            ConfigError: if ``path`` is neither a directory nor a hub id, is another kind of model, or lacks weights.
        """
        kind = "a HuBERT, WavLM or wav2vec 2.0 model"
        unused = ("masked_spec_embed",)  # for SpecAugment, which is off
        model = load_base(transformers.AutoModel, self.path, dtype, option="encoder.path", kind=kind, unused=unused)
        with reading("encoder.path", self.path, kind):
            extractor = transformers.AutoFeatureExtractor.from_pretrained(self.path)
        if model.config.model_type not in MODEL_TYPES or getattr(model.config, "add_adapter", False):
            raise ConfigError(
                f"encoder.path: {self.path!r} is a {model.config.model_type} model, expected an encoder of waveforms "
                f"({', '.join(MODEL_TYPES)}) without an adapter"
            )
        if self.lora is not None and model.config.model_type == "wavlm" and WAVLM_ATTENTION & set(self.lora.modules):
            raise ConfigError(
                f"encoder.lora.modules: found {list(self.lora.modules)}, but the attention of WavLM ignores adapters; "
                "set [intermediate_dense, output_dense]"
            )
        return HFSpeech(
            model,
            normalize=extractor.do_normalize,
            segment=self.segment,
            frozen=self.frozen,
            trained_layers=self.trained_layers,
            lora=self.lora,
        )


class HFSpeech(nn.Module):
    """Encoder from samples at 16 kHz to states, 50 per second in all published models.

    Args:
        encoder: model of transformers.
        normalize: whether to normalise each segment to mean 0 and variance 1 first, as in the model's training.
        segment: length of a segment (seconds), see the module's docstring.
        frozen: whether to keep the weights in training, with dropout off.
        trained_layers: number of last layers that are trained nevertheless.
        lora: adapters that are trained nevertheless, or None.
    """

    feature_dim = 1

    def __init__(
        self,
        encoder: Any,
        *,
        normalize: bool,
        segment: Seconds,
        frozen: bool,
        trained_layers: int = 0,
        lora: LoraOptions | None = None,
    ) -> None:
        super().__init__()
        encoder.config.apply_spec_augment = False  # by default, transformers masks states in training
        self.path: str = encoder.name_or_path
        self.normalize = normalize
        self.frozen = frozen
        self.output_dim: int = encoder.config.hidden_size
        self.layers = list(zip(encoder.config.conv_kernel, encoder.config.conv_stride, strict=True))
        self.receptive_field, hop = 1, 1  # samples
        for kernel, stride in self.layers:
            self.receptive_field += (kernel - 1) * hop
            hop *= stride
        self.frame_rate = SAMPLE_RATE / hop
        self.segment_frames = round(segment * SAMPLE_RATE)  # a frame is a sample
        self.segment_states = int(self._convolved(torch.tensor(self.segment_frames)))
        encoder.requires_grad_(not frozen)
        train_last(encoder.encoder.layers, trained_layers)
        self.has_lora = lora is not None
        self.learns = not frozen or trained_layers > 0 or self.has_lora
        self.encoder = encoder if lora is None else with_lora(encoder, lora, "encoder.lora")

    def train(self, mode: bool = True) -> "HFSpeech":
        """Keep a frozen encoder without adapters in evaluation mode."""
        return super().train(mode and (not self.frozen or self.has_lora))

    def merge_adapters(self) -> None:
        """Add adapters, if there are any, to the weights that they adapt."""
        if self.has_lora:
            self.encoder, self.has_lora = merged(self.encoder), False

    def padded_duration(self, duration: Seconds) -> Seconds:
        """Return ``duration``, because nothing is padded."""
        return duration

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        """Return the number of states for each number of samples: states of all full segments and of the remainder."""
        whole_B = feat_lens_B.div(self.segment_frames, rounding_mode="floor")
        rest_B = feat_lens_B - whole_B * self.segment_frames
        return whole_B * self.segment_states + torch.where(rest_B > 0, self._convolved(rest_B), 0)

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode samples.

        Args:
            feats_BTF: samples, F = 1.
            feat_lens_B: number of valid samples.

        Returns:
            states_BLD, zero after the end of an utterance, and the number of valid states of each utterance.
        """
        # The lengths are on the device, so the CPU waits here for all kernels before the encoder.
        segments = [
            feats_BTF[b, :length, 0].split(self.segment_frames) for b, length in enumerate(feat_lens_B.tolist())
        ]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns):
            states = self._encode([one_N for utterance in segments for one_N in utterance])
        concatenated = [torch.cat([states.pop(0) for _ in utterance]) for utterance in segments]
        return pad_sequence(concatenated, batch_first=True), self.output_lengths(feat_lens_B)

    def _encode(self, segments: Sequence[Tensor]) -> list[Tensor]:
        """Return states_LD of each segment, independent of the other segments."""
        samples = [self._prepared(one_N) for one_N in segments]
        states: dict[int, Tensor] = {}
        for group in self._batches([len(one_N) for one_N in samples]):
            lens_G = torch.tensor([len(samples[i]) for i in group], device=samples[0].device)
            padded_GN = pad_sequence([samples[i] for i in group], batch_first=True)
            mask_GN = length_mask(lens_G, padded_GN.shape[1])
            hidden_GLD = self.encoder(padded_GN, attention_mask=mask_GN.long()).last_hidden_state
            for i, length, hidden_LD in zip(group, self._convolved(lens_G).tolist(), hidden_GLD, strict=True):
                states[i] = hidden_LD[:length]
        return [states[i] for i in range(len(segments))]

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Return batches of segment indices; batches have one length if the model normalises over the padding, too."""
        if self.encoder.config.feat_extract_norm != "group":
            return [list(range(len(lengths)))]
        by_length: dict[int, list[int]] = {}
        for i, length in enumerate(lengths):
            by_length.setdefault(length, []).append(i)
        return list(by_length.values())

    def _prepared(self, samples_N: Tensor) -> Tensor:
        """Return a segment, normalised if configured, and padded to the length of at least one state."""
        samples_N = samples_N.float()
        if self.normalize:
            samples_N = (samples_N - samples_N.mean()) / (samples_N.var(correction=0) + 1e-7).sqrt()
        return pad(samples_N, (0, max(0, self.receptive_field - len(samples_N)))).to(self.encoder.dtype)

    def _convolved(self, feat_lens_B: Tensor) -> Tensor:
        """Return the number of states of each number of samples, at least 1."""
        for kernel, stride in self.layers:
            feat_lens_B = (feat_lens_B - kernel).div(stride, rounding_mode="floor") + 1
        return feat_lens_B.clamp(min=1)

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that a dump of states and a model must share."""
        return {"type": "hf_speech", "segment": self.segment_frames, "dim": self.output_dim}

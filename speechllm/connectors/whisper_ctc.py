"""Connector with a CTC head that begins with the layers of Whisper's decoder.

Whisper's decoder (Radford et al., 2022, arXiv 2212.04356) writes one token after the other. Here all positions are
computed at once: every stacked state has a copy of the same query, the last token of the decoder's prompt, and attends
to the states around it (``_local_attention.py``). Without a text before it, the decoder names the word that is spoken
there. The logits of the subword units are products with Whisper's token embeddings, and CTC removes repetitions.
Layers and embeddings are frozen; LoRA adapters, the attention windows, the query and the blank are trained.
``_ctc.py`` describes the speech tokens. This connector is not in the paper.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, pad

from speechllm.base_models import load_whisper, reading
from speechllm.connectors._ctc import CTCOptions, SubwordCTC
from speechllm.connectors._local_attention import LocalAttention
from speechllm.interfaces import Decoder, Encoder
from speechllm.lengths import length_mask
from speechllm.lora import LoraOptions, merged, with_lora

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

LINEAR = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""Names of the linear layers of Whisper's decoder."""


@dataclass(frozen=True, kw_only=True)
class Config(CTCOptions):
    """Subword units and adapters; the decoder is that of the encoder's Whisper model."""

    bpe_merges: int = 30000
    """Number of the tokenizer's first BPE merges that define the subword units."""
    lower_case: bool = True
    """Whether subword units have no capitals, and the CTC loss ignores case."""
    lora: LoraOptions = field(default_factory=lambda: LoraOptions(rank=32, alpha=64.0, dropout=0.0, modules=LINEAR))
    """Adapters of the decoder's layers."""

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "WhisperCTC":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return WhisperCTC(input_dim, output_dim, self)


class WhisperCTC(SubwordCTC):
    """Layers of Whisper's decoder with local attention, and a CTC head of Whisper's token embeddings.

    Args:
        input_dim: dimension D of the states, and of the decoder.
        output_dim: embedding dimension E of the LLM.
        config: sizes.
    """

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__(input_dim, input_dim, output_dim, config)
        self._lora = config.lora
        nn.init.zeros_(self.input.weight)
        nn.init.zeros_(self.input.bias)

    def bind_encoder(self, encoder: Encoder) -> None:
        """Load the decoder of the encoder's Whisper model.

        Raises:
            ConfigError: if the encoder's base model is not Whisper, or lacks the weights of the decoder.
        """
        like = self.residual.weight
        option = "connector.type: whisper_ctc: encoder.path"
        decoder = load_whisper("decoder", encoder.path, like.dtype, option=option).to(like.device).requires_grad_(False)
        self._tokenizer = _tokenizer(encoder.path, option)
        self._embeddings_VH = decoder.embed_tokens.weight
        prompt: list[int] = self._tokenizer.prefix_tokens
        self.query_H = nn.Parameter(self._embeddings_VH[prompt[-1]] + decoder.embed_positions.weight[len(prompt) - 1])
        self.own = self._local(decoder, rate=1, margin=16, centre=0.0, width=2.5)
        self.cross = self._local(decoder, rate=self.stack, margin=8, centre=1.5, width=1.25)
        self.decoder = with_lora(_Layers(decoder), self._lora, "connector.lora")

    @property
    def base_model(self) -> nn.Module:
        """The layers of Whisper's decoder, with adapters."""
        return self.decoder

    @staticmethod
    def _local(decoder: "WhisperDecoder", **options: Any) -> nn.ModuleList:
        """Return the local attention of each layer."""
        heads = decoder.config.decoder_attention_heads
        return nn.ModuleList(LocalAttention(heads, **options) for _ in decoder.layers)

    def bind(self, decoder: Decoder) -> None:
        """Store the LLM's subword units and embeddings, and build the CTC head for the units."""
        super().bind(decoder)
        embeddings_VH = self._embeddings_VH.detach().to(self.residual.weight)
        tokens = self._tokenizer(self._units.texts, add_special_tokens=False)["input_ids"]
        units_CH = torch.stack([embeddings_VH[ids].mean(0) for ids in tokens])
        self.head = EmbeddingHead(units_CH, embeddings_VH[self._tokenizer.eos_token_id])
        del self._tokenizer, self._embeddings_VH  # 100 MB

    def merge_adapters(self) -> None:
        """Add the adapters to the weights of the decoder's layers."""
        self.decoder = merged(self.decoder)

    def hidden_states(self, states_BLD: Tensor, state_lens_B: Tensor) -> Tensor:
        """Return the hidden states (B, M, H) of the stacked states."""
        stacked_BMD, used_BM = self.stacked(states_BLD, state_lens_B)
        states_BLD = pad(states_BLD, (0, 0, 0, -states_BLD.shape[1] % self.stack))
        used_BL = length_mask(state_lens_B, states_BLD.shape[1]) & used_BM.repeat_interleave(self.stack, 1)
        hidden_BMH = self.query_H + self.input(stacked_BMD * used_BM[..., None])
        valid_BM = length_mask(self.output_lengths(state_lens_B), used_BM.shape[1])
        for layer, own, cross in zip(self.decoder.layers, self.own, self.cross, strict=True):
            normed_BMH = layer.self_attn_layer_norm(hidden_BMH)
            hidden_BMH = hidden_BMH + self._attend(layer.self_attn, own, normed_BMH, normed_BMH, valid_BM)
            normed_BMH = layer.encoder_attn_layer_norm(hidden_BMH)
            hidden_BMH = hidden_BMH + self._attend(layer.encoder_attn, cross, normed_BMH, states_BLD, used_BL)
            inner = gelu(layer.fc1(layer.final_layer_norm(hidden_BMH)))
            hidden_BMH = hidden_BMH + self._drop(layer.fc2(inner))
        normed_BMH = self.decoder.norm(hidden_BMH)
        return normed_BMH

    def _attend(self, layer: Any, local: nn.Module, queries: Tensor, states: Tensor, valid: Tensor) -> Tensor:
        """Return the output of an attention layer of the decoder, computed with local attention."""
        attended = local(layer.q_proj(queries), layer.k_proj(states), layer.v_proj(states), valid)
        return self._drop(layer.out_proj(attended))

    def _drop(self, hidden: Tensor) -> Tensor:
        return dropout(hidden, self.options.dropout, self.training)


class _Layers(nn.Module):
    """Layers and final normalisation of Whisper's decoder."""

    def __init__(self, decoder: "WhisperDecoder") -> None:
        super().__init__()
        self.layers, self.norm = decoder.layers, decoder.layer_norm


class EmbeddingHead(nn.Module):
    """Logits of a blank and of units with frozen embeddings.

    Args:
        units_CH: embeddings of the units.
        blank_H: initial embedding of the blank.
    """

    units_CH: Tensor

    def __init__(self, units_CH: Tensor, blank_H: Tensor) -> None:
        super().__init__()
        self.register_buffer("units_CH", units_CH.detach(), persistent=False)
        self.blank_1H = nn.Parameter(blank_H.detach().clone()[None])
        self.bias_C = nn.Parameter(units_CH.new_zeros(1 + len(units_CH)))
        self.log_scale_1 = nn.Parameter(torch.zeros(1, device=units_CH.device, dtype=units_CH.dtype))

    def forward(self, hidden_BMH: Tensor) -> Tensor:
        """Return logits_BMC; class 0 is the blank."""
        matrix_CH = torch.cat([self.blank_1H, self.units_CH])
        return linear(hidden_BMH * self.log_scale_1.exp(), matrix_CH, self.bias_C)


def _tokenizer(path: str, option: str) -> Any:
    """Return Whisper's tokenizer."""
    from transformers import WhisperTokenizerFast

    with reading(option, path, "a Whisper model with its tokenizer"):
        return WhisperTokenizerFast.from_pretrained(path)

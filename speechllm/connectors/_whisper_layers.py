"""Layers of Whisper's decoder, with attention that is passed as functions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn
from torch.nn.functional import dropout, gelu

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

Attend: TypeAlias = Callable[[int, Any, Tensor], Tensor]
"""Function from the index of a layer, its attention module and normalised hidden states (..., H) to the attended
values (..., H), before the output projection."""


class WhisperLayers(nn.Module):
    """Layers and final normalisation of Whisper's decoder (Radford et al., 2022, arXiv 2212.04356).

    Args:
        decoder: decoder of transformers; its layers are used, not copied.
    """

    def __init__(self, decoder: "WhisperDecoder") -> None:
        super().__init__()
        self.layers, self.norm = decoder.layers, decoder.layer_norm

    def forward(self, hidden: Tensor, own: Attend, cross: Attend, dropout_prob: float = 0.0) -> Tensor:
        """Return the output of the last layer (..., H), normalised.

        Args:
            hidden: hidden states (..., H).
            own: self-attention.
            cross: attention to the encoder's states.
            dropout_prob: probability of dropout after each module.
        """

        def drop(output: Tensor) -> Tensor:
            return dropout(output, dropout_prob, self.training)

        layer: Any
        for index, layer in enumerate(self.layers):
            attended = own(index, layer.self_attn, layer.self_attn_layer_norm(hidden))
            hidden = hidden + drop(layer.self_attn.out_proj(attended))
            attended = cross(index, layer.encoder_attn, layer.encoder_attn_layer_norm(hidden))
            hidden = hidden + drop(layer.encoder_attn.out_proj(attended))
            hidden = hidden + drop(layer.fc2(gelu(layer.fc1(layer.final_layer_norm(hidden)))))
        normed: Tensor = self.norm(hidden)
        return normed


def keys_values(attention: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return the keys and values (..., H) of an attention module of the decoder."""
    return attention.k_proj(states), attention.v_proj(states)

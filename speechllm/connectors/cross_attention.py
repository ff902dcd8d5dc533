"""The cross-attention connector of the paper: states attend to the embedding matrix of the LLM.

arXiv 2309.13963, section 2 (CA): H = Linear(Conv1d(X)) with overlapping kernels, and the speech tokens are
MultiHead(query H, key E, value E), where E is the complete embedding matrix of the LLM, shared and not copied. With
Whisper large-v2 (1280) and a 13B LLM (5120) it has 133,392,128 parameters (133.4M in the paper) and 75 tokens per
window of 30 s. The paper does not give kernel, stride and width; they are derived from its number of parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from speechllm.connectors._base import BaseConnector
from speechllm.errors import ConfigError
from speechllm.interfaces import ConnectorOutput, Decoder
from speechllm.lengths import ceil_div, length_mask


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the convolution and the cross-attention; the paper does not give ``num_heads``."""

    stride: int = 20
    """Number of encoder states from one speech token to the next."""
    kernel: int = 25
    """Number of encoder states per speech token, at least the stride."""
    hidden: int = 768
    """Channels of the convolution."""
    num_heads: int = 8
    """Number of attention heads, a divisor of the LLM's embedding dimension."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        if min(self.stride, self.hidden, self.num_heads) < 1:
            raise ConfigError(
                f"stride, hidden and num_heads: found {self.stride}, {self.hidden} and {self.num_heads}, "
                "expected at least 1"
            )
        if self.kernel < self.stride:
            raise ConfigError(f"kernel: found {self.kernel}, expected at least the stride, {self.stride}")

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "CrossAttention":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        if output_dim % self.num_heads:
            raise ConfigError(
                f"connector.num_heads: found {self.num_heads}, expected a divisor of the LLM's embedding dimension, "
                f"{output_dim}"
            )
        return CrossAttention(input_dim, output_dim, self)


class CrossAttention(BaseConnector):
    """One speech token for every ``stride`` states, a weighted sum of projected rows of the embedding matrix."""

    exact_lengths = True

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__()
        self.stride, self.kernel = config.stride, config.kernel
        self.conv = nn.Conv1d(input_dim, config.hidden, config.kernel, config.stride)
        self.query = nn.Linear(config.hidden, output_dim)
        self.attention = nn.MultiheadAttention(output_dim, config.num_heads, batch_first=True)
        self._embedding_matrix: Callable[[], Tensor] | None = None

    def bind(self, decoder: Decoder) -> None:
        """Store a reference to the embedding matrix (V, E) of the LLM."""
        self._embedding_matrix = decoder.embedding_matrix

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of speech tokens: the number of states over ``stride``, rounded up."""
        return ceil_div(state_lens_B, self.stride)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE and their number for each utterance."""
        assert self._embedding_matrix is not None, "call bind first"
        batch, length, _ = states_BLD.shape
        valid_BL1 = length_mask(state_lens_B, length)[..., None]
        # padding for ceil(length / stride) tokens, with half of the kernels' overlap on the left
        missing = (-(-length // self.stride) - 1) * self.stride + self.kernel - length
        left = (self.kernel - self.stride) // 2
        states_BDL = pad(torch.where(valid_BL1, states_BLD, 0.0).transpose(1, 2), (left, missing - left))
        query_BSE = self.query(self.conv(states_BDL).transpose(1, 2))
        # the queries of the whole batch are one sequence, so that the embedding matrix is projected once
        matrix_1VE = self._embedding_matrix().to(query_BSE.dtype)[None]
        found_1QE, _ = self.attention(query_BSE.flatten(0, 1)[None], matrix_1VE, matrix_1VE, need_weights=False)
        return ConnectorOutput(found_1QE[0].unflatten(0, (batch, -1)), self.output_lengths(state_lens_B))

"""The fully connected connector of the paper: m frames stacked without overlap, Linear, ReLU, Linear.

arXiv 2309.13963, section 2 (FC). With Whisper large-v2 (1280) and a 13B LLM (5120): m=5, hidden 2048
has 23,600,128 parameters and 300 tokens per window of 30 s; m=20, hidden 800 has 24,581,920 and 75. The paper's m is
``stack``; layer normalisation of the states, which is not in the paper, makes training faster.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from speechllm.connectors._base import BaseConnector
from speechllm.errors import ConfigError
from speechllm.interfaces import ConnectorOutput
from speechllm.lengths import ceil_div, length_mask


@dataclass(frozen=True, kw_only=True)
class Config:
    """Number of states per speech token, and sizes of the layers."""

    RENAMED: ClassVar = {"merge": "stack"}

    stack: int = 5
    """Number of consecutive encoder states stacked into one speech token."""
    hidden: int = 2048
    """Width of the hidden layer."""
    layer_norm: bool = False
    """Whether to normalise the states first."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        if self.stack < 1 or self.hidden < 1:
            raise ConfigError(f"stack and hidden: found {self.stack} and {self.hidden}, expected at least 1")

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "FullyConnected":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return FullyConnected(input_dim, output_dim, self)


class FullyConnected(BaseConnector):
    """One speech token for every ``stack`` states; the last one of an utterance is padded with zeros."""

    exact_lengths = True

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__()
        self.stack = config.stack
        self.norm = nn.LayerNorm(input_dim) if config.layer_norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(config.stack * input_dim, config.hidden), nn.ReLU(), nn.Linear(config.hidden, output_dim)
        )

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of speech tokens: the number of states over ``stack``, rounded up."""
        return ceil_div(state_lens_B, self.stack)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE and their number for each utterance."""
        batch, length, dim = states_BLD.shape
        valid_BL1 = length_mask(state_lens_B, length)[..., None]
        states_BLD = torch.where(valid_BL1, self.norm(states_BLD), 0.0)
        states_BLD = pad(states_BLD, (0, 0, 0, -length % self.stack))
        stacked_BSD = states_BLD.reshape(batch, -1, self.stack * dim)
        return ConnectorOutput(self.layers(stacked_BSD), self.output_lengths(state_lens_B))

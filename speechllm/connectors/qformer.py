"""The Q-Former connector of the paper: a fixed number of speech tokens for speech of any length.

arXiv 2309.13963, section 2 (QF). With Whisper large-v2 (1280) and a 13B LLM (5120) it has
24,463,872 parameters with 60 queries and 24,479,232 with 80. The queries attend to the concatenated states of all
windows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from speechllm.connectors._base import BaseConnector
from speechllm.connectors._qformer import QFormer, QFormerOptions
from speechllm.interfaces import ConnectorOutput


@dataclass(frozen=True, kw_only=True)
class Config(QFormerOptions):
    """Number of queries, and sizes of the Q-Former."""

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "QFormerConnector":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return QFormerConnector(input_dim, output_dim, self)


class QFormerConnector(BaseConnector):
    """``num_queries`` speech tokens for every utterance."""

    exact_lengths = True

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__()
        self.num_queries = config.num_queries
        self.qformer = QFormer(input_dim, output_dim, config)

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of queries for every utterance."""
        return torch.full_like(state_lens_B, self.num_queries)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE and their number for each utterance."""
        return ConnectorOutput(self.qformer(states_BLD, state_lens_B), self.output_lengths(state_lens_B))

"""The Q-Former connector of the paper: a fixed number of speech tokens, whatever the length.

arXiv 2309.13963, section 2 (QF). With Whisper large-v2 (1280) and a 13B LLM (5120) it has
24,463,872 parameters with 60 queries and 24,479,232 with 80. Speech of several windows is read in
one call over its joined states.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechllm.connectors._qformer import QFormer
from speechllm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many queries, and how deep and wide the Q-Former is."""

    num_queries: int = 80
    """Number of trainable queries: the number of speech tokens."""
    num_layers: int = 2
    """Number of BERT layers."""
    hidden: int = 768
    """Width of the layers, a multiple of 64 (one attention head each)."""
    dropout: float = 0.1
    """Dropout probability."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        if self.num_queries < 1 or self.num_layers < 1:
            raise ConfigError(
                f"num_queries and num_layers: found {self.num_queries} and {self.num_layers}, expected at least 1"
            )
        if self.hidden < 64 or self.hidden % 64:
            raise ConfigError(f"hidden: found {self.hidden}, expected a multiple of 64")

    def build(self, input_dim: int, output_dim: int) -> "QFormerConnector":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return QFormerConnector(input_dim, output_dim, self)


class QFormerConnector(nn.Module):
    """``num_queries`` speech tokens for every utterance."""

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__()
        self.num_queries = config.num_queries
        self.qformer = QFormer(
            input_dim,
            output_dim,
            num_queries=config.num_queries,
            num_layers=config.num_layers,
            hidden=config.hidden,
            dropout=config.dropout,
        )

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Return the number of queries for every utterance."""
        return torch.full_like(lens_B, self.num_queries)

    def forward(self, states_BLD: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeds_BSE and their lens_B."""
        return self.qformer(states_BLD, lens_B), self.output_lengths(lens_B)

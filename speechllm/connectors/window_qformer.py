"""The window-level Q-Former of SALMONN: a few speech tokens for every short window of the speech.

Tang et al., 2023, arXiv 2310.13289, section 3.1: with windows of 17 states (0.33 s with Whisper) and one query, 30 s
have 88 speech tokens.
"""

from dataclasses import dataclass

from torch import Tensor

from speechllm.connectors._base import BaseConnector
from speechllm.connectors._qformer import QFormer, QFormerOptions
from speechllm.errors import ConfigError
from speechllm.interfaces import ConnectorOutput
from speechllm.lengths import ceil_div, map_segments


@dataclass(frozen=True, kw_only=True)
class Config(QFormerOptions):
    """Length of a window, number of queries, and sizes of the Q-Former."""

    window: int = 17
    """Number of encoder states per window."""
    num_queries: int = 1
    """Number of trainable queries: the number of speech tokens per window."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        super().__post_init__()
        if self.window < 1:
            raise ConfigError(f"window: found {self.window}, expected at least 1")

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "WindowQFormer":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return WindowQFormer(input_dim, output_dim, self)


class WindowQFormer(BaseConnector):
    """``num_queries`` speech tokens for every window of an utterance; the last window may be short."""

    exact_lengths = True

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__()
        self.window, self.num_queries = config.window, config.num_queries
        self.qformer = QFormer(input_dim, output_dim, config)

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of queries times the number of windows."""
        return ceil_div(state_lens_B, self.window) * self.num_queries

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE and their number for each utterance."""
        embeds_BSE = map_segments(self.qformer, states_BLD, state_lens_B, self.window)
        return ConnectorOutput(embeds_BSE, self.output_lengths(state_lens_B))

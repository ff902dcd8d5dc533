"""The segment-level Q-Former of the paper: a fixed number of speech tokens for every segment of the speech.

arXiv 2309.13963, section 2 (Seg-QF): speech longer than a segment (30 s) is cut into segments S_1 ... S_N, encoded
separately, and T = concat_n QF(Q, S_n + p_n), where p_n is one sinusoidal position for all states of a segment, and Q
and QF are shared. It has as many parameters as QF, because the positions are not trained.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from speechllm.connectors._base import BaseConnector
from speechllm.connectors._qformer import QFormer, QFormerOptions
from speechllm.interfaces import ConnectorOutput
from speechllm.lengths import ceil_div, map_segments


@dataclass(frozen=True, kw_only=True)
class Config(QFormerOptions):
    """Number of queries, and sizes of the Q-Former; the segments are those of the encoder."""

    num_queries: int = 80
    """Number of trainable queries: the number of speech tokens per segment."""

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "SegmentQFormer":
        """Build the connector for segments of ``segment_states`` states of ``input_dim`` and an LLM."""
        return SegmentQFormer(input_dim, output_dim, segment_states, self)


class SegmentQFormer(BaseConnector):
    """``num_queries`` speech tokens for every segment of an utterance, in order."""

    exact_lengths = True

    def __init__(self, input_dim: int, output_dim: int, segment_states: int, config: Config) -> None:
        super().__init__()
        self.num_queries, self.segment_states = config.num_queries, segment_states
        self.qformer = QFormer(input_dim, output_dim, config)

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of queries times the number of segments; the last segment may be shorter."""
        return ceil_div(state_lens_B, self.segment_states) * self.num_queries

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE and their number for each utterance."""
        length, dim = states_BLD.shape[1:]
        positions_ND = segment_positions(-(-length // self.segment_states), dim).to(states_BLD)
        positions_LD = positions_ND.repeat_interleave(self.segment_states, 0)[:length]
        embeds_BSE = map_segments(self.qformer, states_BLD + positions_LD, state_lens_B, self.segment_states)
        return ConnectorOutput(embeds_BSE, self.output_lengths(state_lens_B))


def segment_positions(num_segments: int, dim: int) -> Tensor:
    """Return the sinusoidal position (num_segments, dim) of each segment (Vaswani et al., 2017, section 3.5).

    The wavelengths form a geometric progression from 2 pi to 10,000 x 2 pi segments.
    """
    rates = torch.exp(-math.log(10_000) / dim * 2 * torch.arange((dim + 1) // 2))
    angles = torch.arange(num_segments)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :dim]

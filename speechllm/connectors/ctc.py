"""Connector of Transformer layers with a CTC head: one embedding of the LLM for each run of states with the same label.

``_ctc.py`` describes the head and the speech tokens. This connector is not in the paper.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import gelu

from speechllm.connectors._ctc import CTCOptions, SubwordCTC
from speechllm.errors import ConfigError
from speechllm.interfaces import Decoder
from speechllm.lengths import length_mask, map_segments


@dataclass(frozen=True, kw_only=True)
class Config(CTCOptions):
    """Sizes of the layers, and the subword units of the CTC head."""

    hidden: int = 384
    """Width of the Transformer layers, a multiple of 64 (one head each)."""
    num_layers: int = 4
    """Number of Transformer layers."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        super().__post_init__()
        if self.num_layers < 1:
            raise ConfigError(f"num_layers: found {self.num_layers}, expected at least 1")
        if self.hidden < 64 or self.hidden % 64:
            raise ConfigError(f"hidden: found {self.hidden}, expected a multiple of 64")

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "CTCConnector":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return CTCConnector(input_dim, output_dim, segment_states, self)


class CTCConnector(SubwordCTC):
    """Stacked states, a depthwise convolution, Transformer layers, and a linear CTC head.

    Args:
        input_dim: dimension D of the states.
        output_dim: embedding dimension E of the LLM.
        segment_states: states of a segment of the encoder; self-attention is limited to one segment.
        config: sizes.
    """

    def __init__(self, input_dim: int, output_dim: int, segment_states: int, config: Config) -> None:
        super().__init__(input_dim, config.hidden, output_dim, config)
        self.segment = max(1, segment_states // config.stack)
        self.depthwise = nn.Conv1d(config.hidden, config.hidden, 7, padding=3, groups=config.hidden)
        layer = nn.TransformerEncoderLayer(
            config.hidden,
            config.hidden // 64,
            4 * config.hidden,
            config.dropout,
            "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.num_layers, nn.LayerNorm(config.hidden), enable_nested_tensor=False
        )

    def bind(self, decoder: Decoder) -> None:
        """Store the LLM's subword units and embeddings, and build the CTC head for the units."""
        super().bind(decoder)
        like = self.residual.weight
        self.head = nn.Linear(like.shape[1], 1 + len(self._units.ids), device=like.device, dtype=like.dtype)

    def hidden_states(self, states_BLD: Tensor, state_lens_B: Tensor) -> Tensor:
        """Return the hidden states (B, M, H) of the stacked states."""
        stacked_BMD, used_BM = self.stacked(states_BLD, state_lens_B)
        hidden_BMH = self.input(stacked_BMD) * used_BM[..., None]
        hidden_BMH = hidden_BMH + gelu(self.depthwise(hidden_BMH.transpose(1, 2)).transpose(1, 2))
        stacked_lens_B = self.output_lengths(state_lens_B)
        return map_segments(self._attend, hidden_BMH, stacked_lens_B, self.segment)[:, : used_BM.shape[1]]

    def _attend(self, segments_PMH: Tensor, lens_P: Tensor) -> Tensor:
        """Apply the Transformer layers to segments (P, M, H)."""
        padding_PM = ~length_mask(lens_P, segments_PMH.shape[1])
        attended_PMH: Tensor = self.layers(segments_PMH, src_key_padding_mask=padding_PM)
        return attended_PMH

"""Q-Former (Li et al., 2023, arXiv 2301.12597), shared by the query-based connectors."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from speechllm.connectors._locality import LocalityBias
from speechllm.errors import ConfigError
from speechllm.lengths import length_mask
from speechllm.ranges import at_least


@dataclass(frozen=True, kw_only=True)
class QFormerOptions:
    """Number of queries, and sizes of the Q-Former."""

    num_queries: int = 80
    """Number of trainable queries: the number of speech tokens."""
    num_layers: int = 2
    """Number of BERT layers."""
    hidden: int = 768
    """Width of the layers, a multiple of 64 (one attention head each)."""
    dropout: float = 0.1
    """Dropout probability."""
    locality: float = 0.0
    """Initial width of the Gaussian attention bias (shares); 0: no bias."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        if self.num_queries < 1 or self.num_layers < 1:
            raise ConfigError(
                f"num_queries and num_layers: found {self.num_queries} and {self.num_layers}, expected at least 1"
            )
        if self.hidden < 64 or self.hidden % 64:
            raise ConfigError(f"hidden: found {self.hidden}, expected a multiple of 64")
        at_least(self, 0, "locality")


class QFormer(nn.Module):
    """Trainable queries with cross-attention to any number of states in every layer.

    Layer normalisation of the states, BERT layers without a text branch or pooler, and a linear layer to the LLM's
    embeddings (arXiv 2309.13963, section 2, QF). With ``locality``, which is not in the paper, a bias centres the
    attention of each query on its share of the valid states.

    Args:
        input_dim: dimension D of the states.
        output_dim: embedding dimension E of the LLM.
        options: sizes; one head for each 64 units of width, so 12 at BERT's width of 768.
    """

    def __init__(self, input_dim: int, output_dim: int, options: QFormerOptions) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_dim)
        self.queries_1QH = nn.Parameter(torch.randn(1, options.num_queries, options.hidden) * 0.02)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=options.hidden,
                num_hidden_layers=options.num_layers,
                num_attention_heads=options.hidden // 64,
                intermediate_size=4 * options.hidden,
                hidden_dropout_prob=options.dropout,
                attention_probs_dropout_prob=options.dropout,
                encoder_hidden_size=input_dim,
                cross_attention_frequency=1,
            )
        )
        self.output = nn.Linear(options.hidden, output_dim)
        self.locality: LocalityBias | None = None
        if options.locality:
            self.locality = LocalityBias(options.num_queries, options.hidden // 64, options.locality)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> Tensor:
        """Return embeds_BSE, one embedding for each query; states after ``state_lens_B`` are masked."""
        length = states_BLD.shape[1]
        if self.locality is None:
            # transformers checks on the CPU whether any state is masked, so the CPU waits for the encoder here
            attention_mask = length_mask(state_lens_B, length).long()
        else:
            attention_mask = self.locality(state_lens_B, length)  # added to the logits
        hidden_BSH = self.qformer(
            query_embeds=self.queries_1QH.expand(len(states_BLD), -1, -1),
            encoder_hidden_states=self.norm(states_BLD),
            encoder_attention_mask=attention_mask,
        ).last_hidden_state
        embeds_BSE: Tensor = self.output(hidden_BSH)
        return embeds_BSE

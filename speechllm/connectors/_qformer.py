"""The Q-Former (Li et al., 2023, arXiv 2301.12597) that the query-based connectors share."""

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel


class QFormer(nn.Module):
    """Trainable queries that read any number of states through cross-attention in every layer.

    Layer normalisation of the states, BERT layers without a text branch or pooler, and a linear
    layer to the LLM's embeddings (arXiv 2309.13963, section 2, QF).

    Args:
        input_dim: dimension D of the states.
        output_dim: embedding dimension E of the LLM.
        num_queries: number of queries, and so of speech tokens.
        num_layers: number of BERT layers.
        hidden: width of the layers; 12 heads at BERT's 768, in proportion otherwise.
        dropout: dropout probability of hidden states and attention.
    """

    def __init__(
        self, input_dim: int, output_dim: int, *, num_queries: int, num_layers: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_dim)
        self.queries_1QH = nn.Parameter(torch.randn(1, num_queries, hidden) * 0.02)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=hidden,
                num_hidden_layers=num_layers,
                num_attention_heads=max(1, hidden // 64),
                intermediate_size=4 * hidden,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                encoder_hidden_size=input_dim,
                cross_attention_frequency=1,
            )
        )
        self.output = nn.Linear(hidden, output_dim)

    def forward(self, states_BLD: Tensor, lens_B: Tensor) -> Tensor:
        """Return embeds_BSE, one embedding for each query; states beyond ``lens_B`` are masked."""
        mask_BL = torch.arange(states_BLD.shape[1], device=lens_B.device) < lens_B[:, None]
        hidden_BSH = self.qformer(
            query_embeds=self.queries_1QH.expand(len(states_BLD), -1, -1),
            encoder_hidden_states=self.norm(states_BLD),
            encoder_attention_mask=mask_BL.long(),
        ).last_hidden_state
        embeds_BSE: Tensor = self.output(hidden_BSH)
        return embeds_BSE

"""Gaussian bias of a Q-Former's cross-attention, which orders its queries in time."""

import math

import torch
from torch import Tensor, nn

from speechllm.lengths import length_mask


class LocalityBias(nn.Module):
    """Bias of the attention logits around each query's share of the speech.

    The speech is divided into Q shares of equal length, one for each query. The bias of query i is -d**2 / 2, where d
    is the distance of a state from the middle of share i, in units of the width. Gaussian biases of self-attention:
    Sperber et al., 2018 (arXiv 1803.09519), and Yang et al., 2018 (arXiv 1810.10182). Each head has a trained width;
    all layers share the bias.

    Args:
        num_queries: number of queries Q.
        num_heads: number of attention heads H.
        width: initial standard deviation, in shares.
    """

    def __init__(self, num_queries: int, num_heads: int, width: float) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.log_width_H = nn.Parameter(torch.full((num_heads,), math.log(width)))

    def forward(self, state_lens_B: Tensor, length: int) -> Tensor:
        """Return the biases (B, H, Q, L) of ``length`` states; states after ``state_lens_B`` are masked."""
        device, dtype = state_lens_B.device, self.log_width_H.dtype
        states_L = torch.arange(length, device=device) + 0.5
        centres_Q1 = torch.arange(self.num_queries, device=device)[:, None] + 0.5
        shares_BQL = states_L * self.num_queries / state_lens_B[:, None, None] - centres_Q1
        energies_B1QL = (-0.5 * shares_BQL**2).to(dtype)[:, None]
        bias_BHQL = energies_B1QL * torch.exp(-2 * self.log_width_H)[:, None, None]
        mask_BL = length_mask(state_lens_B, length)
        return bias_BHQL.masked_fill(~mask_BL[:, None, None], torch.finfo(dtype).min)

"""Attention to positions near each query, with a Gaussian bias for each head."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

BLOCK = 16
"""Number of queries that share a window of keys."""
MASKED = -1e4
"""Score of a masked key: finite also in half precision, so that a window without valid keys gives no NaN."""


class LocalAttention(nn.Module):
    """Multi-head attention of queries to the keys of a window around them, in linear time.

    Query i, at the middle of the keys i * rate to (i + 1) * rate - 1, attends to the keys of its block of queries and
    of ``margin`` queries on either side. The bias of a key at distance d from the query is
    -((d - centre) / width) ** 2 / 2, in units of queries, with a trained centre and width for each head (Gaussian
    biases: Sperber et al., 2018, arXiv 1803.09519; Yang et al., 2018, arXiv 1810.10182).

    Args:
        num_heads: number of heads H.
        rate: number of keys for each query.
        margin: queries, a divisor of ``BLOCK``.
        centre: initial centre (queries); positive: after the query.
        width: initial standard deviation (queries).
    """

    def __init__(self, num_heads: int, rate: int, margin: int, centre: float, width: float) -> None:
        super().__init__()
        self.num_heads, self.rate, self.chunk = num_heads, rate, margin * rate
        self.centre_H = nn.Parameter(torch.full((num_heads,), float(centre)))
        self.log_width_H = nn.Parameter(torch.full((num_heads,), math.log(width)))

    def forward(self, queries_BMH: Tensor, keys_BLH: Tensor, values_BLH: Tensor, valid_BL: Tensor) -> Tensor:
        """Return the attended values, one vector for each query.

        Args:
            queries_BMH: projected queries.
            keys_BLH: projected keys, ``rate`` times as many.
            values_BLH: projected values.
            valid_BL: which keys are attended to.
        """
        batch, length, dim = queries_BMH.shape
        blocks = -(-length // BLOCK)
        queries = pad(queries_BMH, (0, 0, 0, blocks * BLOCK - length)).reshape(batch * blocks, BLOCK, dim)
        keys, values = self._windows(keys_BLH, blocks), self._windows(values_BLH, blocks)
        valid_PW = self._windows(valid_BL[..., None], blocks)[..., 0]
        queries, keys, values = (self._by_head(one) for one in (queries, keys, values))
        scores = torch.bmm(queries * queries.shape[-1] ** -0.5, keys.mT).unflatten(0, (-1, self.num_heads))
        scores = scores + self._bias(keys.shape[1]).to(scores.dtype)
        scores = scores.masked_fill(~valid_PW[:, None, None], MASKED).float().softmax(-1).to(values.dtype)
        attended = torch.bmm(scores.flatten(0, 1), values).unflatten(0, (-1, self.num_heads))
        return attended.transpose(1, 2).reshape(batch, blocks * BLOCK, dim)[:, :length]

    def _windows(self, keys_BLH: Tensor, blocks: int) -> Tensor:
        """Return the windows (B * blocks, W, H) of all blocks, padded with zeros."""
        batch, length, dim = keys_BLH.shape
        own = BLOCK * self.rate // self.chunk  # chunks of a block
        after = blocks * BLOCK * self.rate - length + self.chunk
        chunks = pad(keys_BLH, (0, 0, self.chunk, after)).reshape(batch, -1, self.chunk, dim)
        last = (blocks - 1) * own + 1
        windows = torch.cat([chunks[:, i : i + last : own] for i in range(own + 2)], 2)
        return windows.reshape(batch * blocks, -1, dim)

    def _by_head(self, vectors_PWH: Tensor) -> Tensor:
        """Return vectors (P * heads, W, H / heads)."""
        return vectors_PWH.unflatten(-1, (self.num_heads, -1)).transpose(1, 2).flatten(0, 1)

    def _bias(self, window: int) -> Tensor:
        """Return the biases (heads, BLOCK, W)."""
        device = self.centre_H.device
        queries_M1 = torch.arange(BLOCK, device=device)[:, None] + 0.5
        keys_W = (torch.arange(window, device=device) - self.chunk + 0.5) / self.rate
        distances = keys_W - queries_M1 - self.centre_H.float()[:, None, None]
        return -0.5 * (distances * torch.exp(-self.log_width_H.float()[:, None, None])) ** 2

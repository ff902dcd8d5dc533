"""Attention to positions near each query, with a Gaussian bias for each head."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from speechllm.lengths import ranks

BLOCK = 16
"""Number of queries that share a window of keys."""
MASKED = -1e4
"""Score of a masked key: finite also in half precision, so that a window without valid keys gives no NaN."""


def by_head(vectors_RKH: Tensor, num_heads: int) -> Tensor:
    """Return vectors (R, A, K, D) of the A heads."""
    return vectors_RKH.unflatten(-1, (num_heads, -1)).transpose(1, 2).contiguous()


def all_heads(vectors_RAKD: Tensor) -> Tensor:
    """Return vectors (R, K, H) of all heads."""
    return vectors_RAKD.transpose(1, 2).flatten(2)


class Windows(NamedTuple):
    """Keys and values of the windows of all blocks (P) of a batch, for each head (A)."""

    keys_PAWD: Tensor
    values_PAWD: Tensor
    valid_PW: Tensor
    blocks: int
    """Number of blocks of an utterance."""

    def select(self, used_P: Tensor) -> "Windows":
        """Return the windows of some blocks, given by their indices."""
        return Windows(self.keys_PAWD[used_P], self.values_PAWD[used_P], self.valid_PW[used_P], self.blocks)


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

    def forward(self, queries_BMH: Tensor, windows: Windows) -> Tensor:
        """Return the attended values, one vector for each query.

        Args:
            queries_BMH: projected queries.
            windows: keys and values, ``rate`` times as many, as returned by ``windows``.
        """
        batch, length, dim = queries_BMH.shape
        queries_BMH = pad(queries_BMH, (0, 0, 0, windows.blocks * BLOCK - length))
        bias_AQW = self._bias(windows.keys_PAWD.shape[2])
        attended_PMH = self._attend(queries_BMH.reshape(-1, BLOCK, dim), windows, bias_AQW)
        return attended_PMH.reshape(batch, -1, dim)[:, :length]

    def at(self, queries_RH: Tensor, utts_R: Tensor, places_R: Tensor, windows: Windows) -> Tensor:
        """Return the attended values of queries at some places of some utterances; a place may be repeated."""
        used_P, block_R, counts_P = (utts_R * windows.blocks + places_R // BLOCK).unique(
            return_inverse=True, return_counts=True
        )
        index = block_R, ranks(block_R)
        shape = len(used_P), int(counts_P.max())
        queries_PQH = queries_RH.new_zeros(*shape, queries_RH.shape[1]).index_put(index, queries_RH)
        offsets_PQ = places_R.new_zeros(shape).index_put(index, places_R % BLOCK)
        bias_PAQW = self._bias(windows.keys_PAWD.shape[2])[:, offsets_PQ].transpose(0, 1)
        return self._attend(queries_PQH, windows.select(used_P), bias_PAQW)[index]

    def windows(self, keys_BLH: Tensor, values_BLH: Tensor, valid_BL: Tensor) -> Windows:
        """Return the windows of projected keys and values; ``valid_BL``: which keys are attended to."""
        blocks = -(-keys_BLH.shape[1] // (BLOCK * self.rate))
        keys_PAWD, values_PAWD = (by_head(self._windows(one, blocks), self.num_heads) for one in (keys_BLH, values_BLH))
        return Windows(keys_PAWD, values_PAWD, self._windows(valid_BL[..., None], blocks)[..., 0], blocks)

    def _attend(self, queries_PQH: Tensor, windows: Windows, bias: Tensor) -> Tensor:
        """Return the attended values of blocks of queries; the bias has the last dimensions (A, Q, W)."""
        queries_PAQD = by_head(queries_PQH, self.num_heads)
        scores = (queries_PAQD * queries_PAQD.shape[-1] ** -0.5) @ windows.keys_PAWD.mT + bias.to(queries_PQH.dtype)
        scores = scores.masked_fill(~windows.valid_PW[:, None, None], MASKED).float().softmax(-1)
        return all_heads(scores.to(queries_PQH.dtype) @ windows.values_PAWD)

    def _windows(self, keys_BLH: Tensor, blocks: int) -> Tensor:
        """Return the windows (B * blocks, W, H) of all blocks, padded with zeros."""
        batch, length, dim = keys_BLH.shape
        own = BLOCK * self.rate // self.chunk  # chunks of a block
        after = blocks * BLOCK * self.rate - length + self.chunk
        chunks = pad(keys_BLH, (0, 0, self.chunk, after)).reshape(batch, -1, self.chunk, dim)
        last = (blocks - 1) * own + 1
        windows = torch.cat([chunks[:, i : i + last : own] for i in range(own + 2)], 2)
        return windows.reshape(batch * blocks, -1, dim)

    def _bias(self, window: int) -> Tensor:
        """Return the biases (A, BLOCK, W)."""
        device = self.centre_H.device
        queries_M1 = torch.arange(BLOCK, device=device)[:, None] + 0.5
        keys_W = (torch.arange(window, device=device) - self.chunk + 0.5) / self.rate
        distances = keys_W - queries_M1 - self.centre_H.float()[:, None, None]
        return -0.5 * (distances * torch.exp(-self.log_width_H.float()[:, None, None])) ** 2

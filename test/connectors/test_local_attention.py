"""Local attention: equal to dense attention with a Gaussian bias inside the windows, in any batch."""

import pytest
import torch
from torch import Tensor

from speechllm.connectors._local_attention import BLOCK, LocalAttention

HEADS, DIM, MARGIN = 2, 8, 4


def made(rate: int) -> LocalAttention:
    torch.manual_seed(0)
    attention = LocalAttention(HEADS, rate, MARGIN, centre=0.5, width=2.0)
    with torch.no_grad():
        attention.centre_H += torch.tensor([0.0, 1.0])
        attention.log_width_H += torch.tensor([0.0, 0.7])
    return attention


def dense(attention: LocalAttention, queries_MH: Tensor, keys_LH: Tensor, values_LH: Tensor, valid: int) -> Tensor:
    """Return the attention of one utterance, query by query."""
    rate, outputs = attention.rate, []
    for i, query_H in enumerate(queries_MH):
        start = i // BLOCK * BLOCK
        first, last = max(0, (start - MARGIN) * rate), min(valid, (start + BLOCK + MARGIN) * rate)
        heads = []
        for head in range(HEADS):
            part = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
            places = (torch.arange(first, last) + 0.5) / rate - (i + 0.5) - attention.centre_H[head]
            bias = -0.5 * (places / attention.log_width_H[head].exp()) ** 2
            scores = keys_LH[first:last, part] @ query_H[part] / (DIM / HEADS) ** 0.5 + bias
            heads.append(scores.softmax(0) @ values_LH[first:last, part])
        outputs.append(torch.cat(heads))
    return torch.stack(outputs)


@pytest.mark.parametrize("rate", [1, 3])
@pytest.mark.parametrize("length", [1, BLOCK, 2 * BLOCK + 5])
def test_it_is_dense_attention_inside_the_windows(rate: int, length: int) -> None:
    attention = made(rate)
    queries, keys, values = torch.randn(length, DIM), *torch.randn(2, length * rate, DIM)
    valid = length * rate - rate // 2
    valid_BL = (torch.arange(length * rate) < valid)[None]
    windows = attention.windows(keys[None], values[None], valid_BL)
    found = attention(queries[None], windows)[0]
    torch.testing.assert_close(found, dense(attention, queries, keys, values, valid), atol=1e-5, rtol=0)


def test_a_distant_key_has_no_influence() -> None:
    attention = made(1)
    inputs = torch.randn(3, 1, 6 * BLOCK, DIM)
    valid_BL = torch.ones(1, 6 * BLOCK, dtype=torch.bool)
    before = attention(inputs[0], attention.windows(*inputs[1:], valid_BL))
    inputs[1:, :, -1] += 100
    after = attention(inputs[0], attention.windows(*inputs[1:], valid_BL))
    assert after[:, : 5 * BLOCK - MARGIN].equal(before[:, : 5 * BLOCK - MARGIN])


def test_some_places_of_some_utterances_are_those_of_all() -> None:
    attention = made(2)
    queries_BMH, keys_BLH, values_BLH = (torch.randn(3, number, DIM) for number in (40, 80, 80))
    valid_BL = torch.arange(80) < torch.tensor([80, 50, 7])[:, None]
    windows = attention.windows(keys_BLH, values_BLH, valid_BL)
    everywhere = attention(queries_BMH, windows)
    places = torch.tensor([2, 0, 0, 0, 2]), torch.tensor([1, 39, 17, 18, 0])
    torch.testing.assert_close(attention.at(queries_BMH[places], *places, windows), everywhere[places])
    twice = attention.at(torch.randn(2, DIM), torch.tensor([1, 1]), torch.tensor([20, 20]), windows)
    assert not torch.allclose(*twice)


def test_a_window_without_valid_keys_stays_finite() -> None:
    attention = made(1)
    queries_BMH, *keys_and_values = torch.randn(3, 1, 3 * BLOCK, DIM)
    windows = attention.windows(*keys_and_values, torch.zeros(1, 3 * BLOCK, dtype=torch.bool))
    outputs = attention(queries_BMH, windows)
    assert outputs.isfinite().all()

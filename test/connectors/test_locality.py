"""The option ``locality`` of the Q-Formers: where each query attends."""

from typing import Any

import pytest
import torch
from torch import Tensor

from speechllm.connectors._locality import LocalityBias
from speechllm.connectors._qformer import QFormer, QFormerOptions
from speechllm.connectors.window_qformer import Config as WindowConfig
from speechllm.errors import ConfigError

QUERIES = 5


def qformer(**options: Any) -> QFormer:
    torch.manual_seed(0)
    return QFormer(16, 24, QFormerOptions(num_queries=QUERIES, hidden=128, dropout=0.0, **options)).eval()


def attended_positions(model: QFormer, states_BLD: Tensor, state_lens_B: Tensor) -> Tensor:
    """Return the mean attended state (B, Q) of the first layer's cross-attention, over all heads."""
    model.qformer.set_attn_implementation("eager")
    weights: list[Tensor] = []
    attention = model.qformer.encoder.layer[0].crossattention.attention
    handle = attention.register_forward_hook(lambda _module, _inputs, output: weights.append(output[1]))
    model(states_BLD, state_lens_B)
    handle.remove()
    return (weights[0].mean(1) * (torch.arange(states_BLD.shape[1]) + 0.5)).sum(-1)


def test_the_bias_is_greatest_in_the_middle_of_each_share() -> None:
    bias_BHQL = LocalityBias(QUERIES, 2, 1.0)(torch.tensor([25, 15]), 25)
    assert bias_BHQL.shape == (2, 2, QUERIES, 25)
    assert bias_BHQL[0].argmax(-1).tolist() == [[2, 7, 12, 17, 22]] * 2
    assert bias_BHQL[1].argmax(-1).tolist() == [[1, 4, 7, 10, 13]] * 2
    torch.testing.assert_close(bias_BHQL[0, 0, 0, [2, 7, 12]], torch.tensor([0.0, -0.5, -2.0]))  # 0, 1, 2 shares away
    assert (bias_BHQL[1, :, :, 15:] == torch.finfo(torch.float32).min).all()


def test_the_width_is_in_shares() -> None:
    narrow, wide = (LocalityBias(QUERIES, 1, width)(torch.tensor([25]), 25) for width in (1.0, 2.0))
    torch.testing.assert_close(narrow, 4 * wide)


def test_queries_attend_in_order_before_any_training() -> None:
    states_BLD, lens_B = torch.randn(2, 40, 16), torch.tensor([40, 20])
    with_B, without_B = (attended_positions(qformer(locality=width), states_BLD, lens_B) for width in (0.5, 0.0))
    assert (with_B.diff() > 0).all()
    centres_BQ = (torch.arange(QUERIES) + 0.5) * lens_B[:, None] / QUERIES
    assert ((with_B - centres_BQ).abs() < 0.5 * lens_B[:, None] / QUERIES).all()
    assert not (without_B.diff() > 0).all()


def test_padding_that_counts_as_speech_widens_the_shares() -> None:
    """A window padded with silence is divided as a whole, a masked one up to the end of its speech."""
    states_BLD, model = torch.randn(1, 40, 16), qformer(locality=0.5)
    window, masked = (attended_positions(model, states_BLD, torch.tensor([length])) for length in (40, 20))
    assert window[0, -1] > 30 and masked[0, -1] < 20


def test_a_width_is_trained_for_each_head() -> None:
    model = qformer(locality=1.0)
    assert model.locality is not None
    model(torch.randn(2, 40, 16), torch.tensor([40, 20])).square().sum().backward()
    gradient_H = model.locality.log_width_H.grad
    assert gradient_H is not None and gradient_H.shape == (2,) and (gradient_H != 0).all()


def test_a_very_wide_bias_is_none() -> None:
    plain, wide = qformer(), qformer(locality=1e4)
    states_BLD, lens_B = torch.randn(2, 40, 16), torch.tensor([40, 20])
    torch.testing.assert_close(wide(states_BLD, lens_B), plain(states_BLD, lens_B), atol=1e-5, rtol=0)


def test_without_locality_there_is_no_parameter_of_it() -> None:
    assert not any("locality" in name for name, _ in qformer().named_parameters())


def test_a_negative_width_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"locality: found -1, expected at least 0"):
        WindowConfig(locality=-1)

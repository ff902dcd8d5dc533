"""What every connector promises, found through the registry, and what the paper says of each."""

import pytest
import torch

from speechllm.registry import available, config_class

SMALL = {"fc": {"merge": 3, "hidden": 32}, "qformer": {"num_queries": 5, "hidden": 64, "dropout": 0.0}}
KEY_BIAS = ".key.bias"  # shifts all attention scores of a query alike, so softmax takes its gradient away


def small(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return config_class("connectors", name)(**SMALL[name]).build(input_dim=16, output_dim=24).eval()


def test_every_connector_is_tested() -> None:
    assert set(available("connectors")) == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_lengths_are_as_announced(name: str) -> None:
    connector = small(name)
    lens_B = torch.tensor([1, 7, 12])
    embeds_BSE, out_B = connector(torch.randn(3, 12, 16), lens_B)
    assert out_B.tolist() == connector.output_lengths(lens_B).tolist()
    assert embeds_BSE.shape == (3, out_B.max(), 24)


@pytest.mark.parametrize("name", SMALL)
def test_padding_and_batch_mates_have_no_influence(name: str) -> None:
    connector = small(name)
    states_BLD, lens_B = torch.randn(3, 12, 16), torch.tensor([12, 7, 1])
    embeds_BSE, out_B = connector(states_BLD, lens_B)
    for i, length in enumerate(lens_B.tolist()):
        alone_BSE, _ = connector(states_BLD[i : i + 1, :length], lens_B[i : i + 1])
        torch.testing.assert_close(embeds_BSE[i, : out_B[i]], alone_BSE[0, : out_B[i]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name: str) -> None:
    connector = small(name)
    embeds_BSE, _ = connector(torch.randn(4, 12, 16), torch.tensor([12, 9, 6, 3]))
    (embeds_BSE * torch.randn_like(embeds_BSE)).sum().backward()
    for parameter_name, parameter in connector.named_parameters():
        if not parameter_name.endswith(KEY_BIAS):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_stays_finite(name: str) -> None:
    connector = small(name).bfloat16()
    embeds_BSE, _ = connector(torch.randn(2, 12, 16).bfloat16() * 30, torch.tensor([12, 1]))
    assert embeds_BSE.isfinite().all()


@pytest.mark.parametrize(
    ("name", "options", "parameters", "tokens"),
    [
        ("fc", {"merge": 5, "hidden": 2048}, 23_600_128, 300),
        ("fc", {"merge": 20, "hidden": 800}, 24_581_920, 75),
        ("qformer", {"num_queries": 60}, 24_463_872, 60),
        ("qformer", {"num_queries": 80}, 24_479_232, 80),
    ],
)
def test_sizes_of_the_paper(name: str, options: dict[str, int], parameters: int, tokens: int) -> None:
    """Whisper large-v2 (1280) and Vicuna 13B (5120), arXiv 2309.13963, table 2."""
    with torch.device("meta"):
        connector = config_class("connectors", name)(**options).build(input_dim=1280, output_dim=5120)
    assert sum(p.numel() for p in connector.parameters()) == parameters
    assert connector.output_lengths(torch.tensor([1500])).tolist() == [tokens]

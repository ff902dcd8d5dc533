"""8-bit linear layers: near the float ones, and each row independent of its batch."""

import pytest
import torch
from torch import nn

from speechllm.errors import ConfigError
from speechllm.models.int8 import Int8Linear, quantize_linears

needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="8-bit layers need VNNI instructions")


@needs_vnni
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_near_and_rows_independent(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 64, bias=bias)
    inputs_BLI = torch.randn(2, 7, 96) * torch.logspace(-3, 3, 7)[:, None]  # a scale for each row
    inputs_BLI[1, 3] = 0
    with torch.inference_mode():
        expected, layer = linear(inputs_BLI), Int8Linear(linear)
        found = layer(inputs_BLI)
        rounding = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-9)
        assert rounding.max() < 0.03  # measured: 0.015
        assert torch.equal(layer(inputs_BLI[1:, 2:5]), found[1:, 2:5])
        assert torch.equal(found[1, 3], linear.bias if bias else torch.zeros(64))


@needs_vnni
def test_every_linear_layer_is_replaced_and_no_other() -> None:
    model = nn.Sequential(
        nn.Linear(32, 32), nn.ModuleList([nn.Linear(32, 32), nn.Conv1d(4, 4, 3)]), nn.Embedding(5, 32)
    )
    assert quantize_linears(model) == 2
    trained = nn.ModuleList([nn.Linear(32, 32), nn.Linear(32, 32).requires_grad_(False)])
    assert quantize_linears(trained, frozen_only=True) == 1
    assert [type(one) for one in trained] == [nn.Linear, Int8Linear]
    assert [type(one) for one in (model[0], *model[1], model[2])] == [Int8Linear, Int8Linear, nn.Conv1d, nn.Embedding]


def test_a_cpu_without_the_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(ConfigError, match="quantize: found a CPU without VNNI"):
        quantize_linears(nn.Linear(4, 4))

"""Who learns at which rate."""

import pytest
from torch import nn

from speechllm.errors import ConfigError
from speechllm.train.config import TrainConfig
from speechllm.train.engine import parameter_groups


def model(*, trains_encoder: bool) -> nn.Module:
    module = nn.ModuleDict({"encoder": nn.Linear(2, 3), "connector": nn.Linear(3, 4), "decoder": nn.Linear(4, 5)})
    module["encoder"].weight.requires_grad_(trains_encoder)
    module["encoder"].bias.requires_grad_(False)
    module["decoder"].requires_grad_(False)
    return module


def test_all_that_is_trained_has_one_rate() -> None:
    (group,) = parameter_groups(model(trains_encoder=True), TrainConfig())
    assert [tuple(p.shape) for p in group["params"]] == [(3, 2), (4, 3), (4,)]
    assert group["lr_scale"] == 1.0


def test_the_encoder_has_its_own() -> None:
    rest, encoder = parameter_groups(model(trains_encoder=True), TrainConfig(lr=1e-3, encoder_lr=1e-5))
    assert [tuple(p.shape) for p in rest["params"]] == [(4, 3), (4,)]
    assert [tuple(p.shape) for p in encoder["params"]] == [(3, 2)]
    assert (rest["lr_scale"], encoder["lr_scale"]) == (1.0, pytest.approx(0.01))


def test_a_rate_for_a_frozen_encoder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the encoder is frozen; set encoder\.trained_layers"):
        parameter_groups(model(trains_encoder=False), TrainConfig(encoder_lr=1e-5))

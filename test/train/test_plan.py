"""Learning rate, plan and DeepSpeed settings."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from speechllm.errors import ConfigError
from speechllm.train.config import TrainConfig
from speechllm.train.engine import deepspeed_config
from speechllm.train.plan import GIB, make_plan, zero_stage
from speechllm.train.schedule import learning_rate


def test_learning_rate() -> None:
    config = TrainConfig(lr=1.0, final_lr=0.1, warmup_steps=10, max_steps=110)
    assert learning_rate(1, config) == pytest.approx(0.1)
    assert learning_rate(10, config) == pytest.approx(1.0)
    assert learning_rate(60, config) == pytest.approx(0.55)
    assert learning_rate(110, config) == pytest.approx(0.1)
    assert learning_rate(1, TrainConfig(lr=1.0, warmup_steps=0)) == pytest.approx(1.0, abs=1e-6)


def test_a_learning_rate_of_each_phase() -> None:
    config = TrainConfig(lr=1.0, llm_lr=0.5, final_lr=0.1, warmup_steps=10, ctc_steps=110, max_steps=160)
    rates = [learning_rate(step, config) for step in (10, 60, 110, 115, 120, 140, 160)]
    assert rates == pytest.approx([1.0, 0.55, 0.1, 0.25, 0.5, 0.3, 0.1])


def model() -> nn.Module:
    parts = nn.ModuleDict(
        {"connector": nn.Linear(1000, 1000, bias=False), "decoder": nn.Linear(1000, 9000, bias=False)}
    )
    parts["decoder"].requires_grad_(False)
    return parts


def test_the_plan_counts_what_zero_divides() -> None:
    whole = make_plan(model(), "bfloat16", 0, 4)
    assert whole.parameters == {"connector": 1_000_000, "decoder": 9_000_000}
    assert whole.trainable == {"connector": 1_000_000, "decoder": 0}
    assert (whole.weight_bytes, whole.gradient_bytes, whole.optimizer_bytes) == (20e6, 2e6, 12e6)
    assert make_plan(model(), "bfloat16", 1, 4).optimizer_bytes == 3e6
    assert make_plan(model(), "bfloat16", 2, 4).gradient_bytes == 0.5e6
    assert make_plan(model(), "bfloat16", 3, 4).weight_bytes == 5e6
    assert make_plan(model(), "float32", 0, 4).optimizer_bytes == 8e6
    assert f"{34e6 / GIB:.2f} GiB" in str(whole)


def test_the_json_may_not_say_what_the_yaml_says(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"bf16": {"enabled": True}}))
    with pytest.raises(ConfigError, match=r"found 'bf16', expected train\.dtype of the YAML to set it"):
        deepspeed_config(TrainConfig(deepspeed=str(path)))
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"train\.deepspeed: cannot read"):
        deepspeed_config(TrainConfig(deepspeed=str(path)))


def test_settings_of_the_yaml_reach_deepspeed() -> None:
    settings = deepspeed_config(TrainConfig(dtype="bfloat16", accumulation=3, max_grad_norm=0.5))
    assert settings["bf16"] == {"enabled": True}
    assert settings["gradient_accumulation_steps"] == 3
    assert settings["gradient_clipping"] == 0.5


@pytest.mark.parametrize(
    ("gpu", "dtype", "stage"), [(True, "bfloat16", 1), (True, "float32", 0), (False, "bfloat16", 0)]
)
def test_half_precision_on_a_gpu_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, dtype: Literal["bfloat16", "float32"], stage: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert zero_stage(deepspeed_config(TrainConfig(dtype=dtype))) == stage
    path = tmp_path / "ds.json"
    for said, expected in (({"allgather_bucket_size": 1000}, stage), ({"stage": 2}, 2)):
        path.write_text(json.dumps({"zero_optimization": said}))
        settings = deepspeed_config(TrainConfig(dtype=dtype, deepspeed=str(path)))
        assert settings["zero_optimization"] == {**said, "stage": expected}


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup_steps": -5},
        {"max_grad_norm": -1.0},
        {"lr": float("nan")},
        {"encoder_lr": 0.0},
        {"final_lr": -1.0},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"betas": (float("nan"), 0.9)},
        {"shuffled_batches": -1},
        {"decode_utterances": -1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(settings))}: found "):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", r"found \[1\], expected a mapping"),
        ('{"zero_optimization": 3}', "zero_optimization: found 3, expected a mapping"),
        ('{"zero_optimization": {"stage": "two"}}', "stage: found 'two', expected 0, 1, 2 or 3"),
    ],
)
def test_a_json_of_wrong_types_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "ds.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=rf"ds\.json: .*{message}"):
        deepspeed_config(TrainConfig(deepspeed=str(path)))

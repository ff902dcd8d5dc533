"""Learning rates of parameter groups, and the start of DeepSpeed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import deepspeed
import pytest
from torch import nn

from speechllm import config as configs
from speechllm import experiment
from speechllm.errors import ConfigError
from speechllm.pretrained.directory import SHIPPED
from speechllm.train.config import TrainConfig
from speechllm.train.engine import check_precision, parameter_groups
from speechllm.train.initial import initial_model
from speechllm.train.run import train


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
    with pytest.raises(ConfigError, match=r"the encoder is frozen; set encoder\.lora"):
        parameter_groups(model(trains_encoder=False), TrainConfig(encoder_lr=1e-5))


def test_initial_weights_are_found_by_name_or_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    model = initial_model(TrainConfig(init_from="base-smollm2-ctc"))
    assert model == SHIPPED / "base-smollm2-ctc"
    (tmp_path / "model.safetensors").touch()
    assert initial_model(TrainConfig(init_from=str(tmp_path))) == tmp_path
    assert initial_model(TrainConfig()) is None
    parts = {"frontend": {"type": "log_mel"}, "encoder": {"type": "whisper", "path": "/nowhere"}}
    parts |= {"connector": {"type": "fc"}, "decoder": {"type": "causal_lm", "path": "/nowhere"}}
    tree = {**parts, "train": {"init_from": "base-smollm2-ctx"}}
    config = configs.from_tree(experiment.ExperimentConfig, tree, where="test")
    with pytest.raises(ConfigError, match=r"base-smollm2-ctx: no such directory .* shipped model .*base-smollm2-ctc"):
        train(config, [tmp_path / "train"], tmp_path / "valid", tmp_path / "exp")
    assert not (tmp_path / "exp").exists()


@pytest.mark.slow
def test_the_lock_of_a_killed_compilation_is_not_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "deepspeed_shm_comm/lock"
    lock.parent.mkdir()
    lock.touch()
    start = [sys.executable, "-c", "from speechllm.train.engine import start_processes; start_processes()"]
    environment = os.environ | {"TORCH_EXTENSIONS_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    processes = [subprocess.Popen(start, env=environment) for _ in range(2)]  # the second waits for the first one
    end = time.monotonic() + 600
    assert [process.wait(end - time.monotonic()) for process in processes] == [0, 0]
    assert not lock.exists()
    assert (lock.parent / "deepspeed_shm_comm.so").is_file()


def test_a_precision_that_this_machine_does_not_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = deepspeed.get_accelerator()
    for dtype, name in (("float16", "is_fp16_supported"), ("bfloat16", "is_bf16_supported")):
        monkeypatch.setattr(accelerator, name, lambda: False)
        with pytest.raises(ConfigError, match=rf"train\.dtype: found {dtype}, .*; set it to float32"):
            check_precision(TrainConfig(dtype=dtype))
        monkeypatch.setattr(accelerator, name, lambda: True)
        check_precision(TrainConfig(dtype=dtype))
    check_precision(TrainConfig(dtype="float32"))

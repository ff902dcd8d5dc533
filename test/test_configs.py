"""Every shipped YAML is loaded, built with tiny models and trained for a step."""

import re
from pathlib import Path

import pytest
import torch

from speechllm import config as configs
from speechllm import experiment
from speechllm.build import build
from speechllm.data.batch import Batch
from speechllm.inference.config import DecodeConfig
from speechllm.train.engine import deepspeed_config

EGS = Path(__file__).parents[1] / "egs"
YAMLS = sorted(EGS.glob("*/conf/**/*.yaml"))
DECODE = [path for path in YAMLS if path.name.startswith("decode")]
EXPERIMENTS = [path for path in YAMLS if path not in DECODE]


def name(path: Path) -> str:
    return f"{recipe(path).name}/{path.name}"


def recipe(path: Path) -> Path:
    return EGS / path.relative_to(EGS).parts[0]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name)
def test_an_experiment_builds_and_steps(
    path: Path, tiny_whisper: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe(path))  # recipes run in their own folder
    tiny = [f"encoder.path={tiny_whisper}", f"decoder.path={tiny_llm}"]
    if "last_layers" in path.read_text():
        tiny.append("encoder.lora.last_layers=1")  # the tiny encoder has two layers
    config = experiment.load_config(path, tiny)
    assert configs.build(experiment.ExperimentConfig, configs.to_dict(config)) == config
    assert deepspeed_config(config.train)["train_micro_batch_size_per_gpu"] == 1
    built = build(config, torch.float32)
    encoded = config.data.dump == "encoder"
    inputs = torch.randn(2, 50, 64) if encoded else torch.randn(2, 100, 80)
    batch = Batch(["a", "b"], inputs, torch.tensor([inputs.shape[1], 20]), ["she had", "all year"], [1.0, 0.4], encoded)
    output = built.model(batch)
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(p.grad is not None for p in built.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("path", DECODE, ids=name)
def test_a_decode_section_loads(path: Path) -> None:
    configs.load(DecodeConfig, path)


def test_every_field_is_explained() -> None:
    path = EGS / "librispeech/conf/quickstart.yaml"
    text = configs.explain(experiment.load_config(path))
    lines = [line for line in text.splitlines() if ": " in line or line.endswith(":")]
    unexplained = [line for line in lines if "#" not in line and not line.strip().startswith("type:")]
    assert not unexplained


def test_a_dump_is_named_after_what_is_chosen_for_it() -> None:
    path = EGS / "librispeech/conf/quickstart.yaml"
    names = [
        experiment.dump_name(experiment.load_config(path, overrides))
        for overrides in ([], ["encoder.segment=30.0"], ["encoder.segment=20.0"], ["encoder.padding=masked"])
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_the_sections_of_the_page_on_recipes_load(tmp_path: Path) -> None:
    """They stand above the section on a connector of one's own."""
    page = (EGS / "README.md").read_text().partition("## What you have")[0]
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    configs_of_blocks = []
    for block in blocks:
        path = tmp_path / "train.yaml"
        path.write_text(f"base: {EGS / 'librispeech/conf/whisper_base_smollm2_ctc.yaml'}\n{block}")
        configs_of_blocks.append(experiment.load_config(path))
    audio, loggers = configs_of_blocks
    assert audio.data.dump == "none" and audio.data.augment is not None and audio.data.spec_augment is not None
    assert loggers.train.loggers == ("tensorboard", "wandb")

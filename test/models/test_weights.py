"""Checkpoints of trained weights: content, and rejected files."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from speechllm import config as configs
from speechllm import experiment
from speechllm.build import build
from speechllm.decoders import causal_lm
from speechllm.errors import ConfigError
from speechllm.lora import LoraOptions
from speechllm.models.weights import (
    average_weights,
    interpolate,
    load_weights,
    model_fingerprint,
    read_metadata,
    read_weights,
    save_weights,
)


def layer(value: float = 0.0, width: int = 3) -> nn.Module:
    module = nn.Sequential(nn.Linear(width, 2), nn.Linear(2, 2))
    module[1].requires_grad_(False)
    nn.init.constant_(module[0].weight, value)
    return module


def trained(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def test_there_and_back(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", trained(layer(3.0)), {"step": 7, "bases": {"decoder": "x"}})
    assert read_metadata(tmp_path / "a.safetensors")["step"] == 7
    module = layer()
    load_weights(module, tmp_path / "a.safetensors", {"decoder": "x"})
    assert (module[0].weight == 3.0).all()


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", trained(layer()), {"bases": {"decoder": "x"}})
    with pytest.raises(ConfigError, match="trained with another decoder: found fingerprint y, expected x"):
        load_weights(layer(), tmp_path / "a.safetensors", {"decoder": "y"})


def test_a_wrong_shape_or_name_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", trained(layer(width=4)), {})
    with pytest.raises(ConfigError, match=r"0\.weight is \[2, 4\], expected \[2, 3\]"):
        load_weights(layer(), tmp_path / "a.safetensors", {})
    save_weights(tmp_path / "b.safetensors", {"0.weight": torch.zeros(2, 3), "other": torch.zeros(1)}, {})
    with pytest.raises(ConfigError, match=r"missing 0\.bias; unknown other"):
        load_weights(layer(), tmp_path / "b.safetensors", {})


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file, expected trained weights"):
        load_weights(layer(), tmp_path / "a.safetensors", {})


def test_average(tmp_path: Path) -> None:
    for i, value in enumerate([1.0, 2.0, 6.0]):
        save_weights(tmp_path / f"{i}.safetensors", trained(layer(value)), {})
    mean = average_weights(sorted(tmp_path.glob("*.safetensors")))
    assert torch.allclose(mean["0.weight"], torch.tensor(3.0))


def test_interpolation_leaves_other_tensors_as_they_are() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b.x": torch.ones(2), "c": torch.ones(2)}
    other = {"a": torch.tensor([3.0, 2.0], dtype=torch.float16), "b.x": torch.zeros(2), "d": torch.zeros(1)}
    found = interpolate(state, other, 0.25, ["b.*", "encoder"])
    assert found["a"].tolist() == [1.5, 2.0]
    assert found["b.x"] is state["b.x"] and found["c"] is state["c"] and found.keys() == state.keys()


def test_fingerprint_knows_the_base_model_whatever_its_precision_or_adapters(tiny_llm: Path) -> None:
    config = causal_lm.Config(path=str(tiny_llm))
    plain = model_fingerprint(config.build().model)
    assert model_fingerprint(config.build(torch.bfloat16).model) == plain
    assert model_fingerprint(config.build(torch.float16).model) == plain
    adapted = causal_lm.Config(path=str(tiny_llm), lora=LoraOptions()).build()
    assert model_fingerprint(adapted.model) == plain
    other = config.build().model
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight[0, 0].neg_()
    assert model_fingerprint(other) != plain


def test_what_is_left_out_is_neither_asked_for_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"0.weight": torch.full((2, 3), 5.0), "0.bias": torch.ones(9), "decoder.x": torch.ones(1)}, {})
    module = layer()
    load_weights(module, path, {}, ("0.bias", "decoder.*"))
    assert (module[0].weight == 5.0).all()
    with pytest.raises(ConfigError, match=r"unknown decoder\.x"):
        load_weights(layer(), path, {}, ("0.bias",))
    with pytest.raises(ConfigError, match=r"leave_out: found no tensor called 'decode\.\*', expected .*\['0\.bias'"):
        load_weights(layer(), path, {}, ("decode.*",))


def test_a_base_model_that_is_left_out_may_be_another(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, trained(layer(5.0)), {"bases": {"encoder": "x", "decoder": "y"}})
    module = layer()
    load_weights(module, path, {"encoder": "other", "decoder": "y"}, ("encoder",))
    assert (module[0].weight == 5.0).all()
    with pytest.raises(ConfigError, match="trained with another decoder"):
        load_weights(layer(), path, {"encoder": "other", "decoder": "other"}, ("encoder",))
    with pytest.raises(ConfigError, match=r"found no tensor called 'encoder\*'"):
        load_weights(layer(), path, {"encoder": "other", "decoder": "y"}, ("encoder*",))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    state = trained(layer()) | {"0.bias": torch.tensor([0.0, value])}
    save_weights(tmp_path / "a.safetensors", state, {})
    with pytest.raises(ConfigError, match=r"a\.safetensors: 0\.bias: found NaN or infinite values"):
        load_weights(layer(), tmp_path / "a.safetensors", {})


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 100])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for read in (read_metadata, read_weights):
        with pytest.raises(ConfigError, match=r"a\.safetensors: cannot be read as safetensors"):
            read(path)
    save_weights(path, trained(layer()), {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"a\.safetensors: cannot be read as safetensors"):
        read_weights(path)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, trained(layer(1.0)), {})

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("speechllm.models.weights.save_file", full)
    with pytest.raises(OSError, match=r"a\.safetensors: .*No space left"):
        save_weights(path, trained(layer(2.0)), {})
    assert (read_weights(path)["0.weight"] == 1.0).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_base_model_with_weights_that_are_no_numbers_is_refused(
    tiny_whisper: Path, tiny_llm: Path, tmp_path: Path, part: str
) -> None:
    paths = {"encoder": tiny_whisper, "decoder": tiny_llm}
    paths[part] = shutil.copytree(paths[part], tmp_path / "base")
    state = load_file(paths[part] / "model.safetensors")
    name = next(name for name in state if "decoder" not in name and name.endswith("layers.1.self_attn.v_proj.weight"))
    state[name][0, 0] = float("nan")
    save_file(state, paths[part] / "model.safetensors", {"format": "pt"})
    tree = {
        "frontend": {"type": "log_mel"},
        "encoder": {"type": "whisper", "path": str(paths["encoder"])},
        "connector": {"type": "fc"},
        "decoder": {"type": "causal_lm", "path": str(paths["decoder"])},
    }
    config = configs.from_tree(experiment.ExperimentConfig, tree, where="test")
    with pytest.raises(ConfigError, match=rf"{part}\.path: .*base: .*v_proj\.weight: found NaN or infinite values"):
        build(config, torch.float32)

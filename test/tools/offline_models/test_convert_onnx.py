"""A small Whisper written in ONNX with 8-bit weights, and read back."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import transformers
from offline_models import convert_onnx
from onnx import helper, numpy_helper

EXACT = ("bias", "layer_norm.weight", "embed_positions.weight")


def weights_of(whisper: transformers.WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    state = {name: value.numpy() for name, value in whisper.state_dict().items() if name != "proj_out.weight"}
    return {name: value + np.float32(0.01) if name.endswith("bias") else value for name, value in state.items()}


def write_graph(path: Path, weights: dict[str, np.ndarray], suffix: str, *, branches: bool) -> None:
    """Write weights as transformers.js does: all but biases, norms and positions in 8 bits, linear ones transposed."""
    stored, nodes = [], []
    for name, value in weights.items():
        if name.endswith(EXACT):
            stored.append(numpy_helper.from_array(value, name + suffix))
            continue
        is_linear = value.ndim == 2 and "embed" not in name
        key = f"onnx::MatMul_{len(nodes)}{suffix}" if is_linear else name + suffix
        scale = np.float32(np.ptp(value) / 255)
        zero = np.uint8(np.round(-value.min() / scale))
        quantized = np.clip(np.round(value / scale) + zero, 0, 255).astype(np.uint8)
        parts = {"quantized": quantized.T if is_linear else quantized, "scale": scale, "zero_point": zero}
        stored += [numpy_helper.from_array(np.asarray(part), f"{key}_{end}") for end, part in parts.items()]
        if is_linear:
            node = f"/{name.removesuffix('.weight').replace('.layers.', '/layers.').replace('.', '/')}/MatMul_quant"
            node = node.replace("/layers/", "/layers.")
            nodes.append(helper.make_node("MatMulInteger", ["x", f"{key}_quantized"], [f"y{len(nodes)}"], name=node))
    if branches:  # the same in both
        branch = helper.make_graph(nodes, "branch", [], [])
        nodes = [helper.make_node("If", ["use"], ["y"], then_branch=branch, else_branch=branch)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "graph", [], [], stored)), str(path))


def write(folder: Path, weights: dict[str, np.ndarray]) -> None:
    encoder, decoder = convert_onnx.GRAPHS
    inside = {name.removeprefix("model.encoder."): value for name, value in weights.items() if ".encoder." in name}
    write_graph(folder / encoder, inside, "", branches=False)
    outside = {name: value for name, value in weights.items() if ".decoder." in name}
    write_graph(folder / decoder, outside, "_merged_0", branches=True)


def test_weights_come_back(tmp_path: Path, whisper: transformers.WhisperForConditionalGeneration) -> None:
    expected = weights_of(whisper)
    write(tmp_path, expected)
    state = convert_onnx.state_dict(tmp_path)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        error = np.abs(state[name].numpy() - value).max()
        assert error == 0 if name.endswith(EXACT) else error <= 0.51 * np.ptp(value) / 255, name


def test_another_graph_is_refused(tmp_path: Path, whisper: transformers.WhisperForConditionalGeneration) -> None:
    weights = weights_of(whisper)
    del weights["model.decoder.layers.1.fc2.weight"]
    write(tmp_path, weights)
    whisper.config.save_pretrained(tmp_path)
    whisper.generation_config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"do not fit: missing .*model\.decoder\.layers\.1\.fc2\.weight"):
        convert_onnx.convert(tmp_path, tmp_path / "target")

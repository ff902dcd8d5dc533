"""Convert a Whisper model in ONNX format with 8-bit weights to a Hugging Face directory with 16-bit weights.

The format is that of transformers.js: a graph of the encoder, and a graph of the decoder with two branches (for the
first token and later tokens) that share the weights. A linear layer is a node with the name of the layer; its weight is
transposed and has no name. 8-bit values represent ``scale * (value - zero_point)``.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.numpy_helper import to_array
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

GRAPHS = {"encoder_model_quantized.onnx": "model.encoder.", "decoder_model_merged_quantized.onnx": ""}
"""Files, with the prefixes of transformers' names that the names in the graphs lack."""


def convert(source: Path, target: Path) -> None:
    """Write the Hugging Face files of the multilingual Whisper model in ``source``, configured for English.

    Args:
        source: directory with the graphs, the configuration and the tokenizer files.
        target: existing, empty directory.

    Raises:
        ValueError: if the weights of the graphs do not match the configuration.
    """
    state = state_dict(source)
    generation = GenerationConfig.from_pretrained(source)
    generation.update(language="en", task="transcribe", forced_decoder_ids=None)
    model = WhisperForConditionalGeneration(WhisperConfig.from_pretrained(source)).half()
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) != {"proj_out.weight"}:  # tied to the embeddings
        raise ValueError(f"{source}: weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.generation_config = generation
    model.save_pretrained(target)
    WhisperTokenizer.from_pretrained(source).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(target)


def state_dict(source: Path) -> dict[str, torch.Tensor]:
    """Return transformers' state dict of the graphs in ``source``, in float32."""
    state: dict[str, torch.Tensor] = {}
    for name, prefix in GRAPHS.items():
        graph = onnx.load(str(source / name)).graph
        state |= {prefix + key: torch.from_numpy(value) for key, value in _weights(graph).items()}
    return state


def _weights(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return the weights of a graph in float32 by transformers' names."""
    stored = {one.name: to_array(one) for one in graph.initializer}
    values = {name: _dequantized(name, stored) for name in stored if not name.endswith(("_scale", "_zero_point"))}
    values = {name.removesuffix("_quantized"): value for name, value in values.items()}
    found = {}
    for node in _nodes(graph):
        if node.op_type == "MatMulInteger" and node.input[1] in stored:
            layer = node.name.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
            found[f"{layer}.weight"] = values[node.input[1].removesuffix("_quantized")].T.copy()
    named = {re.sub(r"_merged_\d+$", "", name): value for name, value in values.items()}
    found |= {name: value for name, value in named.items() if name.endswith((".weight", ".bias"))}
    found.pop("proj_out.weight", None)  # tied to the embeddings
    return found


def _dequantized(name: str, stored: dict[str, np.ndarray]) -> np.ndarray:
    """Return a stored weight in float32."""
    base = name.removesuffix("_quantized")
    if base == name:
        return stored[name].astype(np.float32)
    zero = stored[f"{base}_zero_point"].astype(np.int32)
    return ((stored[name].astype(np.int32) - zero) * stored[f"{base}_scale"]).astype(np.float32)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)

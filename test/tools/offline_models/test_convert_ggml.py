"""A small Whisper written in whisper.cpp's format, and read back."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from offline_models import convert_ggml

OPENAI = {  # transformers' names to OpenAI's
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "layers": "blocks",
    "embed_tokens": "token_embedding",
}


@pytest.fixture
def model(whisper: transformers.WhisperForConditionalGeneration) -> transformers.WhisperForConditionalGeneration:
    return whisper.half()


def openai_name(name: str) -> str:
    name = name.removeprefix("model.").replace("embed_positions.weight", "positional_embedding")
    name = re.sub(r"^encoder\.layer_norm", "encoder.ln_post", name)
    name = re.sub(r"^decoder\.layer_norm", "decoder.ln", name)
    return ".".join(OPENAI.get(part, part) for part in name.split("."))


def write_ggml(path: Path, model: transformers.WhisperForConditionalGeneration, magic: int = 0x67676D6C) -> None:
    c = model.config
    sizes = [c.vocab_size, c.max_source_positions, c.d_model, 2, 1, c.max_target_positions, c.d_model, 2, 2, 5, 1]
    content = struct.pack("<12i", magic, *sizes) + struct.pack("<2i", 2, 3) + bytes(24)
    content += struct.pack("<i", 2) + struct.pack("<i", 3) + b"abc" + struct.pack("<i", 1) + b"d"
    for name, value in model.state_dict().items():
        if name == "proj_out.weight":
            continue
        values, name = value.numpy(), openai_name(name)
        if re.fullmatch(r"encoder\.conv\d\.bias", name):
            values = values[:, None]
        kind = 1 if values.ndim > 1 and "bias" not in name else 0
        values = values.astype([np.float32, np.float16][kind])
        content += struct.pack(f"<3i{values.ndim}i", values.ndim, len(name), kind, *values.shape[::-1])
        content += name.encode() + values.tobytes()
    path.write_bytes(content)


def test_weights_and_sizes_come_back(tmp_path: Path, model: transformers.WhisperForConditionalGeneration) -> None:
    path = tmp_path / "ggml-base.en.bin"
    write_ggml(path, model)
    with path.open("rb") as file:
        sizes, state = convert_ggml.read_ggml(file)
    assert sizes.items() <= model.config.to_dict().items()
    expected = {name: value for name, value in model.state_dict().items() if name != "proj_out.weight"}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name].half(), value) for name, value in expected.items())


def test_something_else_is_refused(tmp_path: Path, model: transformers.WhisperForConditionalGeneration) -> None:
    path = tmp_path / "ggml-base.en.bin"
    write_ggml(path, model, magic=7)
    with path.open("rb") as file, pytest.raises(ValueError, match="magic number 0x7, expected 0x67676d6c"):
        convert_ggml.read_ggml(file)

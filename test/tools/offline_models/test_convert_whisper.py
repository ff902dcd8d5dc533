import io
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from offline_models import convert_whisper
from tokenizers import Tokenizer, models

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"]

NAMES = {  # transformers' and CTranslate2's
    "embed_tokens": "embeddings",
    "embed_positions": "position_encodings",
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "encoder_attn.q_proj": "attention/linear_0",
    "encoder_attn.out_proj": "attention/linear_2",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
STACKED = {  # by the first of the projections
    "self_attn.q_proj": ("self_attention/linear_0", "qkv"),
    "encoder_attn.k_proj": ("attention/linear_1", "kv"),
}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def variable(name: str, value: np.ndarray) -> bytes:
    kind = {np.dtype(dtype): code for code, dtype in convert_whisper.DTYPES.items()}[value.dtype]
    shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
    return string(name) + shape + struct.pack("<BI", kind, value.nbytes) + value.tobytes()


def ctranslate2(model: transformers.WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    """Return a model's weights under CTranslate2's names, the projections of one input stacked."""
    state = {key.removeprefix("model."): value.numpy() for key, value in model.model.half().state_dict().items()}
    for key in [key for key in state if key.endswith("k_proj.weight")]:
        state[key.replace("weight", "bias")] = np.zeros(len(state[key]), np.float16)
    heads = np.array(model.config.encoder_attention_heads, dtype=np.int16)
    variables = {"encoder/num_heads": heads, "decoder/num_heads": heads}
    for key, value in state.items():
        side, number, block, kind = re.fullmatch(r"(\w+?)\.(?:layers\.(\d+)\.)?(.+)\.(\w+)", key).groups()
        name = NAMES.get(block, block)
        if block in STACKED:
            name, letters = STACKED[block]
            stack = [state[key.replace(block, f"{block[:-6]}{letter}_proj")] for letter in letters]
            value = np.concatenate(stack)
        elif block.startswith(("self_attn.", "encoder_attn.")) and block not in NAMES:
            continue
        if "norm" in name:
            kind = {"weight": "gamma", "bias": "beta"}[kind]
        layer = "" if number is None else f"layer_{number}/"
        variables[f"{side}/{layer}{name}/{'encodings' if 'position' in name else kind}"] = value
    return variables


@pytest.fixture
def source(tmp_path: Path, tiny_whisper: Path) -> Path:
    """Return a tiny Whisper in CTranslate2's form."""
    folder = tmp_path / "source"
    folder.mkdir()
    variables = ctranslate2(transformers.WhisperForConditionalGeneration.from_pretrained(tiny_whisper))
    body = b"".join(variable(name, value) for name, value in variables.items())
    header = struct.pack("<I", 6) + string("WhisperSpec") + struct.pack("<II", 3, len(variables))
    (folder / "model.bin").write_bytes(header + body + struct.pack("<I", 0))
    settings = {"suppress_ids": [5], "suppress_ids_begin": [6], "alignment_heads": [[1, 0]]}
    (folder / "config.json").write_text(json.dumps(settings))
    words = {word: i for i, word in enumerate([*SPECIAL, *"abcdef"])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_converted_model_computes_the_same(source: Path, tiny_whisper: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    convert_whisper.convert(source, target)
    original = transformers.WhisperForConditionalGeneration.from_pretrained(tiny_whisper).half().float().eval()
    converted = transformers.WhisperForConditionalGeneration.from_pretrained(target, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    feats_BFT = torch.randn(1, 80, 3000, generator=generator)
    ids_BU = torch.tensor([[1, 7, 8]])
    with torch.no_grad():
        expected = original(input_features=feats_BFT, decoder_input_ids=ids_BU).logits
        found = converted(input_features=feats_BFT, decoder_input_ids=ids_BU).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_directory_is_complete(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    convert_whisper.convert(source, target)
    processor = transformers.WhisperProcessor.from_pretrained(target)
    assert processor.feature_extractor.feature_size == 80
    assert processor.tokenizer.convert_tokens_to_ids("<|startoftranscript|>") == 1
    generation = transformers.GenerationConfig.from_pretrained(target)
    assert (generation.decoder_start_token_id, generation.eos_token_id) == (1, 0)
    assert generation.no_timestamps_token_id == 3
    assert (generation.suppress_tokens, generation.begin_suppress_tokens) == ([5], [6])
    assert not generation.is_multilingual


def test_a_missing_weight_is_an_error(source: Path, tmp_path: Path) -> None:
    data = (source / "model.bin").read_bytes()
    (source / "model.bin").write_bytes(
        data.replace(b"decoder/layer_1/ffn/linear_1/b", b"decoder/layer_3/ffn/linear_1/b")
    )
    (tmp_path / "target").mkdir()
    with pytest.raises(ValueError, match=r"weights do not fit: missing .*layers\.1\.fc2\.bias"):
        convert_whisper.convert(source, tmp_path / "target")


def test_another_version_is_an_error() -> None:
    file = io.BytesIO(struct.pack("<I", 5) + string("WhisperSpec"))
    file.name = "model.bin"
    with pytest.raises(ValueError, match="found version 5 of WhisperSpec, expected version 6"):
        convert_whisper.read_variables(file)

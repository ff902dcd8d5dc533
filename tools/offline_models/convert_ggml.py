"""Convert an English Whisper model in whisper.cpp's format (``ggml-*.bin``) to a Hugging Face directory.

The file is little-endian: a magic number, eleven sizes (i32); a filter bank: rows, columns (i32), values (f32); the
vocabulary: number of tokens (i32), then length (i32) and bytes of each; then, up to the end, the tensors: rank, length
of the name, type (i32), dimensions from the last to the first (i32), name, values. The file does not contain the
merges of the tokenizer, so the tokenizer of another English Whisper model is used; all have the same.
"""

import re
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

MAGIC = 0x67676D6C
DTYPES = {0: np.float32, 1: np.float16}
SIZES = (
    "vocab_size",
    "max_source_positions",
    "d_model",
    "encoder_attention_heads",
    "encoder_layers",
    "max_target_positions",
    "d_model",
    "decoder_attention_heads",
    "decoder_layers",
    "num_mel_bins",
)
NAMES = {
    r"\bblocks\b": "layers",
    r"positional_embedding": "embed_positions.weight",
    r"token_embedding": "embed_tokens",
    r"\bcross_attn_ln\b": "encoder_attn_layer_norm",
    r"\bcross_attn\b": "encoder_attn",
    r"\battn_ln\b": "self_attn_layer_norm",
    r"\battn\b": "self_attn",
    r"\bquery\b": "q_proj",
    r"\bkey\b": "k_proj",
    r"\bvalue\b": "v_proj",
    r"\bout\b": "out_proj",
    r"\bmlp_ln\b": "final_layer_norm",
    r"\bmlp\.0\b": "fc1",
    r"\bmlp\.2\b": "fc2",
    r"\bln_post\b|(?<=decoder\.)ln\b": "layer_norm",
}


def convert(source: Path, target: Path) -> None:
    """Write the Hugging Face files of the ``ggml-*.bin`` in ``source``.

    Args:
        source: directory with that file, and the tokenizer and generation_config.json of an English Whisper model.
        target: existing, empty directory.

    Raises:
        ValueError: if the file is not a Whisper model in this format.
    """
    (path,) = source.glob("ggml-*.bin")
    with path.open("rb") as file:
        sizes, state = read_ggml(file)
    generation = GenerationConfig.from_pretrained(source)
    special = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    config = WhisperConfig(
        **sizes,
        encoder_ffn_dim=4 * sizes["d_model"],
        decoder_ffn_dim=4 * sizes["d_model"],
        **{name: getattr(generation, name) for name in special},
    )
    model = WhisperForConditionalGeneration(config).half()
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) != {"proj_out.weight"}:  # tied to the embeddings
        raise ValueError(f"{path}: weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    generation.alignment_heads = None  # those of another model are not valid
    model.generation_config = generation
    model.save_pretrained(target)
    WhisperTokenizer.from_pretrained(source).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)


def read_ggml(file: BinaryIO) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Return the sizes and weights of a Whisper model by transformers' names.

    Raises:
        ValueError: if the magic number or the type of a weight is unknown.
    """
    magic, *numbers, _ = _integers(file, 12)
    if magic != MAGIC:
        raise ValueError(f"{file.name}: found the magic number {magic:#x}, expected {MAGIC:#x} of ggml")
    rows, columns = _integers(file, 2)
    file.seek(4 * rows * columns, 1)
    for _ in range(_integers(file, 1)[0]):
        file.seek(_integers(file, 1)[0], 1)
    state = {}
    while begin := file.read(12):
        rank, length, kind = struct.unpack("<3i", begin)
        if kind not in DTYPES:
            raise ValueError(f"{file.name}: found weights of type {kind}, expected 0 or 1: float32 or float16")
        shape = _integers(file, rank)[::-1]
        name = file.read(length).decode()
        size = int(np.prod(shape)) * np.dtype(DTYPES[kind]).itemsize
        values = np.frombuffer(file.read(size), DTYPES[kind]).reshape(shape)
        if re.fullmatch(r"encoder\.conv\d\.bias", name):
            values = values[:, 0]
        state[f"model.{_renamed(name)}"] = torch.from_numpy(values.copy())
    return dict(zip(SIZES, numbers, strict=True)), state


def _renamed(name: str) -> str:
    """Return transformers' name for a name of OpenAI's."""
    for pattern, replacement in NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def _integers(file: BinaryIO, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", file.read(4 * count))

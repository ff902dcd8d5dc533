"""Convert a Whisper model in CTranslate2's format (``model.bin``) to a Hugging Face directory.

``model.bin`` (version 6) is little-endian: version u32, name of the specification, revision u32, number of
variables u32; then for each variable its name, rank u8, dimensions u32, type u8, number of bytes u32 and data;
then the number of aliases u32 and pairs of names. A string is its length u16 and its bytes; the last byte is NUL.
"""

import json
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

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
# CTranslate2 stores projections with the same input in one matrix, stacked by rows in this order.
FUSED = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
}
SINGLE = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "attention/linear_0": "encoder_attn.q_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
OUTSIDE_LAYERS = {"embeddings": "embed_tokens", "position_encodings": "embed_positions"}
KINDS = {"gamma": "weight", "beta": "bias", "encodings": "weight"}


def convert(source: Path, target: Path) -> None:
    """Write the Hugging Face files of the English Whisper model in ``source`` (model.bin, config.json, tokenizer.json).

    Args:
        source: directory in CTranslate2's format.
        target: existing, empty directory.

    Raises:
        ValueError: if ``model.bin`` is not a Whisper model of version 6.
    """
    with (source / "model.bin").open("rb") as file:
        variables = read_variables(file)
    tokenizer = WhisperTokenizer.from_pretrained(source)
    tokenizer.pad_token = tokenizer.eos_token
    model = WhisperForConditionalGeneration(whisper_config(variables, tokenizer)).half()
    missing, unexpected = model.load_state_dict(state_dict(variables), strict=False)
    if unexpected or set(missing) != {"proj_out.weight"}:  # tied to the embeddings
        raise ValueError(f"{source}: weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    model.generation_config = generation_config(json.loads((source / "config.json").read_text()), tokenizer)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(target)


def read_variables(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return the variables of a CTranslate2 ``model.bin`` by name, without aliases.

    Raises:
        ValueError: if the version or the specification is unknown.
    """
    version, specification = _integer(file), _string(file)
    if (version, specification) != (6, "WhisperSpec"):
        raise ValueError(f"{file.name}: found version {version} of {specification}, expected version 6 of WhisperSpec")
    _integer(file)
    variables = {}
    for _ in range(_integer(file)):
        name, rank = _string(file), file.read(1)[0]
        shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
        dtype = DTYPES[file.read(1)[0]]
        variables[name] = np.frombuffer(file.read(_integer(file)), dtype).reshape(shape)
    return variables


def _integer(file: BinaryIO) -> int:
    return int(struct.unpack("<I", file.read(4))[0])


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<H", file.read(2))
    return file.read(length)[:-1].decode()


def state_dict(variables: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return transformers' state dict of CTranslate2's variables, without switches and head counts."""
    state: dict[str, torch.Tensor] = {}
    for name, value in variables.items():
        if value.ndim == 0 or name.startswith("decoder/alignment"):
            continue
        for key, part in _renamed(name, torch.from_numpy(value.copy())):
            if key.endswith("k_proj.bias"):  # Whisper has no such bias; the fused bias contains zeros
                assert not part.any(), f"{name}: the bias of the keys is not zero"
                continue
            state[key] = part
    return state


def _renamed(name: str, value: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Return transformers' names and values of a variable, or of each part of a fused variable."""
    side, _, rest = name.partition("/")
    path, _, kind = rest.rpartition("/")
    kind = KINDS.get(kind, kind)
    layer = re.fullmatch(r"layer_(\d+)/(.+)", path)
    if layer is None:
        return [(f"model.{side}.{OUTSIDE_LAYERS.get(path, path)}.{kind}", value)]
    index, block = layer.groups()
    blocks = FUSED.get(block) or (SINGLE[block],)
    return [
        (f"model.{side}.layers.{index}.{block}.{kind}", part)
        for block, part in zip(blocks, value.chunk(len(blocks)), strict=True)
    ]


def whisper_config(variables: dict[str, np.ndarray], tokenizer: WhisperTokenizer) -> WhisperConfig:
    """Return the configuration of the model, derived from the shapes of its variables."""
    width, mel_bins, _ = variables["encoder/conv1/weight"].shape
    layers = {side: len({n for n in variables if re.fullmatch(rf"{side}/layer_\d+/ffn/linear_0/bias", n)})
              for side in ("encoder", "decoder")}  # fmt: skip
    feedforward = len(variables["encoder/layer_0/ffn/linear_0/bias"])
    return WhisperConfig(
        vocab_size=len(variables["decoder/embeddings/weight"]),
        num_mel_bins=mel_bins,
        d_model=width,
        encoder_layers=layers["encoder"],
        decoder_layers=layers["decoder"],
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        encoder_ffn_dim=feedforward,
        decoder_ffn_dim=feedforward,
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        **_special_tokens(tokenizer),
    )


def _special_tokens(tokenizer: WhisperTokenizer) -> dict[str, int]:
    start, end = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|endoftext|>"])
    return {"bos_token_id": start, "decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": end}


def generation_config(ctranslate2: dict, tokenizer: WhisperTokenizer) -> GenerationConfig:
    """Return the generation configuration of an English-only model: no language and task tokens, no timestamps.

    Args:
        ctranslate2: ``config.json`` of CTranslate2, which lists the suppressed tokens.
        tokenizer: tokenizer of the model.
    """
    silent, previous = tokenizer.convert_tokens_to_ids(["<|notimestamps|>", "<|startofprev|>"])
    return GenerationConfig(
        is_multilingual=False,
        return_timestamps=False,
        forced_decoder_ids=None,
        no_timestamps_token_id=silent,
        prev_sot_token_id=previous,
        suppress_tokens=ctranslate2["suppress_ids"],
        begin_suppress_tokens=ctranslate2["suppress_ids_begin"],
        alignment_heads=ctranslate2["alignment_heads"],
        max_initial_timestamp_index=50,
        max_length=448,
        **_special_tokens(tokenizer),
    )

"""Convert a quantised LLM in GGUF format to a Hugging Face directory that supports training.

The weights are written as float16. The scales of GGUF's blocks are float16, so the rounding error (2e-4 relative for
Q4_1) is far below the quantisation error of the file; that of bfloat16 is seven times as large.
"""

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase


def convert(source: Path, target: Path) -> None:
    """Write the Hugging Face files of the LLM in the one ``*.gguf`` file of ``source``.

    Args:
        source: directory of the file.
        target: existing, empty directory; its name becomes the name of the model.

    Raises:
        ValueError: if there is not exactly one such file, or if it lacks a chat template or an end-of-sequence token.
    """
    files = sorted(source.glob("*.gguf"))
    if len(files) != 1:
        raise ValueError(f"{source}: found {len(files)} GGUF files, expected one")
    tokenizer = read_tokenizer(files[0])
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=files[0].name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float16
    )
    end = tokenizer.eos_token_id
    if tokenizer.chat_template is None or end is None or end != model.generation_config.eos_token_id:
        raise ValueError(
            f"{files[0]}: no chat template, or tokenizer and model disagree on the end of sequence ({end})"
        )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def read_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a GGUF file; it splits digits one by one if the model requires it.

    GGUF names a pre-tokenizer instead of describing it, and transformers uses that of GPT-2 for every name.
    """
    from gguf import GGUFReader

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    field = GGUFReader(path).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer

"""Limits of the input of an LLM: rows of its embedding matrix, and number of positions."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from speechllm.errors import ConfigError


def check_vocabulary(tokenizer: Any, num_embeddings: int) -> None:
    """Check that all tokens of texts, and the end of sequence, have embeddings.

    Special tokens, such as those of other modalities, may lack an embedding.

    Raises:
        ConfigError: if a token has no embedding.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = set(tokenizer.get_vocab().values()) - special | {tokenizer.eos_token_id}
    check_ids(ids, tokenizer, num_embeddings)


def check_ids(ids: Iterable[int], tokenizer: Any, num_embeddings: int) -> None:
    """Check that token ids have embeddings.

    Raises:
        ConfigError: if a token has no embedding.
    """
    beyond = sorted(one for one in ids if one >= num_embeddings)
    if beyond:
        names = ", ".join(repr(tokenizer.convert_ids_to_tokens(one)) for one in beyond[:4])
        raise ConfigError(
            f"decoder.tokenizer: found {len(tokenizer)} tokens, but the embedding matrix of the LLM has "
            f"{num_embeddings} rows, none for {names}; use the tokenizer that belongs to the LLM"
        )


def position_limit(model: Any) -> int | None:
    """Return the number of positions of the LLM if a table of embeddings or biases limits it; None without a limit."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return getattr(config, "max_seq_len", None)
    tables = [
        module.num_embeddings
        for module in model.modules()
        if isinstance(module, nn.Embedding) and module is not model.get_input_embeddings()
    ]
    tables += [len(buffer) for name, buffer in model.named_buffers() if name.endswith("embed_positions")]
    offsets = (0, 2)  # some families reserve the first two rows for padding
    return int(limit) if any(rows - limit in offsets for rows in tables) else None

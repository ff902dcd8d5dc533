"""Sizes of an LLM that bound its input: rows of its embedding matrix, and positions."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from speechllm.errors import ConfigError


def check_vocabulary(tokenizer: Any, num_embeddings: int) -> None:
    """Make sure that every token which a text can have, and the end of sequence, has an embedding.

    Special tokens of other modalities, which no transcript has, may lack one.

    Raises:
        ConfigError: if a token lacks one.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids = set(tokenizer.get_vocab().values()) - special | {tokenizer.eos_token_id}
    check_ids(ids, tokenizer, num_embeddings)


def check_ids(ids: Iterable[int], tokenizer: Any, num_embeddings: int) -> None:
    """Make sure that token ids have embeddings.

    Raises:
        ConfigError: if one has none.
    """
    beyond = sorted(one for one in ids if one >= num_embeddings)
    if beyond:
        names = ", ".join(repr(tokenizer.convert_ids_to_tokens(one)) for one in beyond[:4])
        raise ConfigError(
            f"decoder.tokenizer: found {len(tokenizer)} tokens, but the embedding matrix of the LLM has "
            f"{num_embeddings} rows, none for {names}; use the tokenizer that belongs to the LLM"
        )


def position_limit(model: Any) -> int | None:
    """Return how many positions the LLM has, in a table of embeddings or of biases; None if it computes any."""
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
    offsets = (0, 2)  # some reserve the first two rows for padding
    return int(limit) if any(rows - limit in offsets for rows in tables) else None

"""Recognition of batches of utterances with the search of an experiment."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch

from speechllm.build import Built
from speechllm.data.dataset import Example
from speechllm.errors import ConfigError
from speechllm.inference.config import DecodeConfig
from speechllm.interfaces import Hypothesis
from speechllm.models.word_times import extend_words

Recognizer: TypeAlias = Callable[[list[Example]], list[list[Hypothesis]]]
"""Function from a batch of utterances to the n-best hypotheses of each, best first."""


def recognizer(built: Built, config: DecodeConfig, device: torch.device) -> Recognizer:
    """Move the model to ``device``; return a function that recognises batches of utterances.

    Raises:
        ConfigError: if the search or word times need a CTC head, or rescoring a second pass, that the connector lacks.
    """
    model, collate = built.model.to(device), built.collate()
    for key, off in (("ctc_weight", 0), ("ctc_confidence", 0), ("hot_word_distance", None)):
        value = getattr(config.search, key)
        if value != off and model.connector.subwords is None:
            raise ConfigError(
                f"decode.search.{key}: found {value}, but the connector has no CTC head; "
                f"expected {'null' if off is None else off}, or a connector of type ctc or whisper_ctc"
            )
    if config.search.rescoring_weight and config.search.num_beams > 1 and not model.connector.rescores:
        raise ConfigError(
            f"decode.search.rescoring_weight: found {config.search.rescoring_weight}, but the connector has no "
            "second pass; expected 0, or a connector of type whisper_ctc with second_pass_weight above 0"
        )
    if config.compile or (config.compile is None and device.type == "cuda"):
        model.decoder.compile_steps()
    if config.word_times and model.connector.subwords is None:
        raise ConfigError(
            "decode.word_times: found true, but word times are aligned by a CTC head and the connector has none; "
            "expected false, or a connector of type ctc or whisper_ctc"
        )
    state_rate = built.state_rate if config.word_times else None

    def recognize(examples: list[Example]) -> list[list[Hypothesis]]:
        max_new_tokens = [config.max_new_tokens(example.duration) for example in examples]
        found = model.generate(collate(examples).to(device), max_new_tokens, config.search, state_rate)
        if config.word_times and not collate.encoded:
            levels = (built.frontend.levels(example.inputs_TF) for example in examples)
            found = [_extended(nbest, levels_T) for nbest, levels_T in zip(found, levels, strict=True)]
        return found

    return recognize


def _extended(nbest: list[Hypothesis], levels_T: np.ndarray) -> list[Hypothesis]:
    """Return the n-best hypotheses with ends of words that include all speech before the next word."""
    return [replace(nbest[0], words=extend_words(nbest[0].words, levels_T)), *nbest[1:]]

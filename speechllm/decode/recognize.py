"""From utterances to hypotheses, with an experiment's search."""

from collections.abc import Callable
from typing import TypeAlias

import torch

from speechllm.data.batch import Collate
from speechllm.data.dataset import Example
from speechllm.decode.config import DecodeConfig
from speechllm.decode.fallback import with_fallback
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions, Hypothesis
from speechllm.models.speech_llm import SpeechLLM

Recognizer: TypeAlias = Callable[[list[Example]], list[list[Hypothesis]]]
"""Returns the n-best hypotheses, best first, of each utterance of a batch."""


def recognizer(model: SpeechLLM, collate: Collate, config: DecodeConfig, device: torch.device) -> Recognizer:
    """Return a function that recognises batches of utterances with ``model``, which lies on ``device``.

    Raises:
        ConfigError: if the search needs a CTC head and the connector has none.
    """
    for name, options in (("search", config.search), ("fallback", config.fallback)):
        for key in ("ctc_weight", "ctc_confidence"):
            value = 0.0 if options is None else getattr(options, key)
            if value > 0 and model.connector.subwords is None:
                raise ConfigError(
                    f"decode.{name}.{key}: found {value}, but the connector has no CTC head; "
                    "expected 0, or a connector of type ctc"
                )

    def search(examples: list[Example], options: GenerationOptions) -> list[list[Hypothesis]]:
        caps = [config.cap(example.duration) for example in examples]
        return model.generate(collate(examples).to(device), caps, options)

    return with_fallback(search, config.search, config.fallback)

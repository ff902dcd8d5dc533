"""The ``decode`` section of an experiment."""

import math
from dataclasses import dataclass, field
from typing import Literal

from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions, Seconds
from speechllm.ranges import at_least, probability


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """Search, batches, and the largest length of a hypothesis.

    In float32, batches and jobs change no hypothesis; on the CPU, neither does ``compile``. A hypothesis with the
    largest number of tokens, ``tokens_per_second`` times the duration plus ``extra_tokens``, is counted as truncated.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and activations."""
    batch_size: int = 64
    """Largest number of utterances in a batch."""
    batch_duration: Seconds = 480.0
    """Largest padded duration of a batch (seconds)."""
    batch_tokens: int = 16384
    """Largest number of tokens in a batch: prompt, speech, text, all beams."""
    compile: bool | None = None
    """Compile the LLM's step of one token; null: on a GPU."""
    tokens_per_second: float = 8.0
    """Largest number of tokens of a hypothesis per second of speech."""
    extra_tokens: int = 10
    """Tokens of a hypothesis in addition to tokens_per_second."""
    search: GenerationOptions = field(default_factory=GenerationOptions)
    """Search for hypotheses."""
    word_times: bool = False
    """Whether to align words with CTC posteriors for times and confidences."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        if self.search.num_beams < 1 or self.batch_size < 1:
            raise ConfigError(
                f"search.num_beams and batch_size: found {self.search.num_beams} and {self.batch_size}, "
                "expected at least 1"
            )
        at_least(self, 1, "batch_tokens")
        search = self.search
        try:
            at_least(search, 0, "no_repeat_ngram", "hot_word_distance")
            at_least(search, 1, "ctc_candidates")
            probability(search, "rescoring_weight")
        except ConfigError as error:
            raise ConfigError(f"search.{error}") from None
        if not 1 <= search.nbest <= search.num_beams:
            raise ConfigError(f"search.nbest: found {search.nbest}, expected 1 to num_beams, {search.num_beams}")
        for key in ("ctc_weight", "ctc_confidence"):
            if not 0 <= getattr(search, key) <= 1:
                raise ConfigError(f"search.{key}: found {getattr(search, key)}, expected 0 to 1")
        if search.ctc_weight > 0 and search.ctc_candidates < 2 * search.num_beams:
            raise ConfigError(
                f"search.ctc_candidates: found {search.ctc_candidates}, expected at least twice num_beams, "
                f"{search.num_beams}"
            )
        if self.tokens_per_second <= 0 or self.extra_tokens < 0 or self.batch_duration <= 0:
            raise ConfigError(
                f"tokens_per_second, extra_tokens and batch_duration: found {self.tokens_per_second}, "
                f"{self.extra_tokens} and {self.batch_duration}, expected more than 0, at least 0, and more than 0"
            )

    def max_new_tokens(self, duration: Seconds) -> int:
        """Return the largest number of tokens of a hypothesis for ``duration`` seconds."""
        return self.extra_tokens + math.ceil(self.tokens_per_second * duration)

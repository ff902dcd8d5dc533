"""Baseline: Whisper's own decoder."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from speechllm.data.language import language_code
from speechllm.errors import ConfigError
from speechllm.interfaces import Hypothesis

SAMPLE_RATE = 16000  # Hz


class WhisperBaseline:
    """A complete Whisper model, encoder and decoder, with the generation of transformers.

    Args:
        path: hub id or local directory.
        device: device of the model.
        num_beams: beam width; 1 is greedy search.
        language: language of all utterances, a code or an English name (``de``, ``german``); None: a multilingual
            Whisper detects the language of each utterance from its first 30 s.
        token_scores: whether hypotheses contain the log-probability of each token; only for greedy search and speech of
            up to 30 s.

    Raises:
        ConfigError: if the model cannot be loaded, or does not support the language.
    """

    def __init__(
        self,
        path: str,
        device: torch.device,
        num_beams: int = 1,
        language: str | None = None,
        *,
        token_scores: bool = False,
    ) -> None:
        try:
            self.processor: Any = transformers.WhisperProcessor.from_pretrained(path)
            model = transformers.WhisperForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot load it as a Whisper model: {error}") from error
        self.model: Any = model.to(device).eval()
        self.num_beams = num_beams
        self.token_scores = token_scores and num_beams == 1
        self._path = path
        self.use_language(language)
        self.detected: Counter[str] = Counter()
        """Number of utterances by detected language."""

    def use_language(self, language: str | None) -> None:
        """Set the language of the next utterances; None: detected for each utterance.

        Raises:
            ConfigError: if the model does not support the language.
        """
        self.language = _language_token(self._path, self.model.generation_config, language)
        """Token of the language; None: detected, or the model is English only."""

    def describe_language(self) -> str:
        """Return the language of the hypotheses, and whether it was given or detected."""
        if not _is_multilingual(self.model.generation_config):
            return "en (English-only model)"
        return "detected for each utterance" if self.language is None else f"{self.language.strip('<|>')} (given)"

    def transcribe(self, batch: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Return the hypothesis of each waveform (N,) at 16 kHz.

        Speech over 30 s is decoded separately, window by window; whether a window was truncated is not known.
        """
        is_long = [len(samples_N) > 30 * SAMPLE_RATE for samples_N in batch]
        short = iter(self._generate([s for s, long in zip(batch, is_long, strict=True) if not long], is_long=False))
        return [
            self._generate([s], is_long=True)[0] if long else next(short)
            for s, long in zip(batch, is_long, strict=True)
        ]

    @torch.inference_mode()
    def _generate(self, batch: list[np.ndarray], *, is_long: bool) -> list[Hypothesis]:
        if not batch:
            return []
        inputs = self.processor(
            batch,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            return_attention_mask=True,
            **({"truncation": False, "padding": "longest"} if is_long else {}),
        ).to(self.model.device)
        task: dict[str, Any] = {}
        if _is_multilingual(self.model.generation_config):
            task = {"language": self._languages(inputs.input_features), "task": "transcribe"}
        search = {**inputs, **task, "num_beams": self.num_beams, "return_timestamps": is_long}
        if self.token_scores and not is_long:
            found = self.model.generate(**search, return_dict_in_generate=True, output_scores=True)
            rows = found.sequences[:, -len(found.scores) :].tolist()
            scores_BU = self.model.compute_transition_scores(found.sequences, found.scores, normalize_logits=True)
            return [
                self._hypothesis(row, scores, is_long) for row, scores in zip(rows, scores_BU.tolist(), strict=True)
            ]
        return [self._hypothesis(row, [], is_long) for row in self.model.generate(**search).tolist()]

    def _hypothesis(self, row: list[int], scores: list[float], is_long: bool) -> Hypothesis:
        """Return the hypothesis of the tokens in ``row``, with their log-probabilities if ``scores`` is not empty."""
        options = self.model.generation_config
        most = options.max_length - (4 if _is_multilingual(options) else 2)  # minus start, language, task, no times
        length = sum(token != options.eos_token_id for token in row)
        text = self.processor.decode(row, skip_special_tokens=True)
        scored = list(zip(row, scores, strict=False))[:length]  # without padding
        return Hypothesis(
            text=" ".join(text.split()),
            score=0.0,
            num_tokens=length,
            truncated=not is_long and length >= most,
            tokens=[(self.processor.decode([token]), score) for token, score in scored],
        )

    def _languages(self, features_BFT: torch.Tensor) -> list[str]:
        """Return the language token of each utterance."""
        if self.language is not None:
            return [self.language] * len(features_BFT)
        tokens = {index: token for token, index in self.model.generation_config.lang_to_id.items()}
        found = [tokens[index] for index in self.model.detect_language(features_BFT).tolist()]
        self.detected.update(token.strip("<|>") for token in found)
        return found


def _language_token(path: str, options: Any, language: str | None) -> str | None:
    """Return the token of a language, such as ``<|de|>``; None without a language and for an English-only model."""
    if language is None:
        return None
    code = language_code(language)
    if not _is_multilingual(options):
        if code != "en":
            raise ConfigError(
                f"{path}: is an English-only Whisper, found language {language!r}; use a multilingual one"
            )
        return None
    if (token := f"<|{code}|>") not in options.lang_to_id:
        known = ", ".join(sorted(token.strip("<|>") for token in options.lang_to_id))
        raise ConfigError(f"{path}: found language {language!r}, expected one of {known}")
    return token


def _is_multilingual(options: Any) -> bool:
    return bool(getattr(options, "is_multilingual", False))

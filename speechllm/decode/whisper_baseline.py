"""Whisper's own decoder on the same utterances: the result that a connector to an LLM has to stand beside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers

from speechllm.errors import ConfigError
from speechllm.interfaces import Hypothesis

SAMPLE_RATE = 16000  # Hz


class WhisperBaseline:
    """A whole Whisper model, encoder and decoder, through transformers' own generation.

    Args:
        path: hub id or local directory.
        device: where it runs.
        num_beams: beam width; 1 is greedy search.
    """

    def __init__(self, path: str, device: torch.device, num_beams: int = 1) -> None:
        try:
            self.processor: Any = transformers.WhisperProcessor.from_pretrained(path)
            model = transformers.WhisperForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: cannot load it as a Whisper model: {error}") from error
        self.model: Any = model.to(device).eval()
        self.num_beams = num_beams

    def transcribe(self, batch: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Return the hypothesis of each waveform (N,), 16 kHz.

        Speech over 30 s is decoded alone, window by window; whether one of these was cut is not known.
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
        task = {"language": "en", "task": "transcribe"} if self.model.generation_config.is_multilingual else {}
        rows = self.model.generate(**inputs, **task, num_beams=self.num_beams, return_timestamps=is_long).tolist()
        texts = self.processor.batch_decode(rows, skip_special_tokens=True)
        options = self.model.generation_config
        most = options.max_length - (4 if options.is_multilingual else 2)  # without start, language, task, no times
        lengths = [sum(token != options.eos_token_id for token in row) for row in rows]
        return [
            Hypothesis(
                text=" ".join(text.split()), score=0.0, num_tokens=length, truncated=not is_long and length >= most
            )
            for text, length in zip(texts, lengths, strict=True)
        ]

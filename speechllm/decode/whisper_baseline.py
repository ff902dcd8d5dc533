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

    @torch.inference_mode()
    def transcribe(self, batch: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Return the hypothesis of each waveform (N,), 16 kHz; speech over 30 s is decoded window by window."""
        is_long = any(len(samples_N) > 30 * SAMPLE_RATE for samples_N in batch)
        inputs = self.processor(
            list(batch),
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            return_attention_mask=True,
            **({"truncation": False, "padding": "longest"} if is_long else {}),
        ).to(self.model.device)
        ids = self.model.generate(**inputs, num_beams=self.num_beams, return_timestamps=is_long)
        texts = self.processor.batch_decode(ids, skip_special_tokens=True)
        return [
            Hypothesis(text=" ".join(text.split()), score=0.0, num_tokens=len(row), truncated=False)
            for text, row in zip(texts, ids, strict=True)
        ]

"""Import path of the programs in tools/, and fixtures of several tests."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))


class Hum:
    """A voice that hums for a time proportional to the text, with half a second of silence on both sides."""

    sample_rate = 24_000

    def __init__(self, name: str, seed: int) -> None:
        self.seed = seed

    def __call__(self, text: str, speed: float) -> np.ndarray:
        seconds = len(text) / 20 / speed
        hum_N = 0.1 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * self.sample_rate)) / self.sample_rate)
        return np.pad(hum_N, self.sample_rate // 2)


@pytest.fixture
def humming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every voice hum."""
    import speak_corpus

    monkeypatch.setattr(speak_corpus, "load", Hum)
    monkeypatch.setattr(speak_corpus, "ProcessPoolExecutor", ThreadPoolExecutor)


@pytest.fixture
def whisper() -> transformers.WhisperForConditionalGeneration:
    """Return a Whisper of a few weights, drawn from a seed."""
    torch.manual_seed(0)
    sizes = {"d_model": 8, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 60, "num_mel_bins": 5}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    places = {"max_source_positions": 6, "max_target_positions": 7}
    tokens = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1}
    return transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**sizes, **layers, **places, **tokens)
    )

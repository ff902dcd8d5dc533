"""Estimates of the LLM's number of input tokens, without reading utterances."""

from collections.abc import Callable

import numpy as np
import torch

from speechllm.data.concat import Groups
from speechllm.data.dataset import SpeechDataset
from speechllm.models.speech_llm import SpeechLLM

SAMPLE = 1000
"""Number of utterances for means: their prompts and transcripts are tokenised."""


class TokenCounter:
    """Count the tokens of prompt, speech and text of utterances, without an array of numbers for all utterances.

    The number of speech tokens is the largest one of the connector for the duration. That of a text is estimated from
    its bytes, because tokenising all transcripts of a large corpus takes minutes, and that of a prompt is a mean.

    Args:
        model: model with prompt, tokenizer and connector.
        dataset: utterances with transcripts.
        rows_N: rows of the utterances to count.
        draw_context: see ``Loader``.
    """

    def __init__(
        self,
        model: SpeechLLM,
        dataset: SpeechDataset,
        rows_N: np.ndarray,
        draw_context: Callable[[str, str, int], str] | None = None,
    ) -> None:
        table, texts = dataset.table, dataset.texts
        assert table.texts is not None and texts is not None, "training needs transcripts"
        self._model = model
        self._frame_rate = table.num_frames_N[rows_N].sum() / table.durations_N[rows_N].sum()
        self._texts = table.texts.take(rows_N)
        step = -(-len(rows_N) // SAMPLE)
        some = [(dataset.utt_ids[int(row)], texts.at(int(row))) for row in rows_N[::step]]
        tokens = sum(len(model.decoder.tokenize(text)) for _, text in some)
        self._tokens_per_byte = tokens / max(1, int(self._texts.sizes()[::step].sum()))
        prompts = 0
        for utt_id, text in some:
            context = draw_context(utt_id, text, 0) if draw_context else dataset.contexts.get(utt_id, "")
            prompts += sum(map(len, model.prompt.parts(utt_id, 0, context)))
        self._prompt = prompts / len(some)

    def __call__(self, groups: Groups) -> np.ndarray:
        """Return the number of tokens of each group of concatenated utterances (int32), end-of-sequence included."""
        lens_G = torch.from_numpy(np.round(groups.lengths_G * self._frame_rate).astype(np.int64))
        speech_G = self._model.speech_tokens(lens_G).numpy()
        ends_N = np.cumsum(self._texts.sizes()[groups.order_N] + 1, dtype=np.int64)  # a space between two texts
        starts_G, ends_G = groups.bounds_G2.T
        bytes_G = ends_N[ends_G - 1] - np.where(starts_G, ends_N[starts_G - 1], 0) - 1
        found_G: np.ndarray = speech_G + np.round(self._prompt + 1 + bytes_G * self._tokens_per_byte).astype(np.int32)
        return found_G.astype(np.int32)

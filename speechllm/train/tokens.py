"""Numbers of tokens that the LLM reads, known before any utterance is read."""

from collections.abc import Mapping

import torch

from speechllm.data.concat import JOINT
from speechllm.data.dataset import DumpDataset
from speechllm.interfaces import Seconds
from speechllm.models.speech_llm import SpeechLLM

SAMPLE = 1000
"""Transcripts that are tokenised, for the mean number of tokens of a byte."""


class TokenCounter:
    """Counts prompt, speech and text of utterances.

    Speech tokens are the largest number that the connector makes of so much speech. Tokens of a text are estimated from
    its bytes, since tokenising all transcripts of a large corpus takes minutes.

    Args:
        model: gives prompt, tokenizer and lengths.
        dataset: utterances with transcripts.
    """

    def __init__(self, model: SpeechLLM, dataset: DumpDataset) -> None:
        assert dataset.texts is not None, "training needs transcripts"
        self._model, self._texts = model, dataset.texts
        self._frame_rate = sum(dataset.num_frames.values()) / sum(dataset.durations.values())
        texts = list(dataset.texts.values())
        some = texts[:: -(-len(texts) // SAMPLE)]
        tokens = sum(len(model.decoder.tokenize(text)) for text in some)
        self._tokens_per_byte = tokens / max(1, sum(len(text.encode()) for text in some))

    def __call__(self, durations: Mapping[str, Seconds]) -> dict[str, int]:
        """Return the number of tokens of each utterance, or group of concatenated ones."""
        lens_B = torch.tensor([round(duration * self._frame_rate) for duration in durations.values()])
        encoder = self._model.encoder
        state_lens_B = lens_B if encoder is None else encoder.output_lengths(lens_B)
        speech = self._model.connector.output_lengths(state_lens_B).tolist()
        around = self._model.prompt.num_tokens()
        return {one: around + num + self.text(one) for one, num in zip(durations, speech, strict=True)}

    def text(self, utt_id: str) -> int:
        """Return the number of target tokens of an utterance or group, end-of-sequence included."""
        num_bytes = sum(len(self._texts[one].encode()) + 1 for one in utt_id.split(JOINT))
        return 1 + round(num_bytes * self._tokens_per_byte)

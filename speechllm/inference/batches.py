"""Batches of a decoding job: utterances of similar duration, with limits of seconds and tokens."""

from collections.abc import Mapping

import torch

from speechllm.data.sampler import PaddedDuration, sequential_batches
from speechllm.inference.config import DecodeConfig
from speechllm.interfaces import Seconds
from speechllm.models.speech_llm import SpeechLLM


def decoding_batches(
    durations: Mapping[str, Seconds],
    num_frames: Mapping[str, int],
    contexts: Mapping[str, str],
    model: SpeechLLM,
    config: DecodeConfig,
    padded_duration: PaddedDuration,
    language: str = "",
) -> list[list[str]]:
    """Return batches of utterance ids with every utterance once, the longest first.

    Args:
        durations: duration of each utterance (seconds).
        num_frames: number of frames, or states, of each utterance in the dump.
        contexts: contexts of utterances for the prompt; utterances may be missing.
        model: model for the numbers of tokens.
        config: limits of a batch.
        padded_duration: function from the duration of an utterance to that with the padding of the encoder.
        language: English name of the language for the prompt.
    """
    tokens = largest_tokens(durations, num_frames, contexts, model, config, language)
    found = []
    for batch in sequential_batches(durations, config, padded_duration):
        longest = max(tokens[utt_id] for utt_id in batch)
        number = -(-len(batch) // max(1, config.batch_tokens // longest))  # number of equal parts
        size = -(-len(batch) // number)
        found += [batch[start : start + size] for start in range(0, len(batch), size)]
    return found


def largest_tokens(
    durations: Mapping[str, Seconds],
    num_frames: Mapping[str, int],
    contexts: Mapping[str, str],
    model: SpeechLLM,
    config: DecodeConfig,
    language: str = "",
) -> dict[str, int]:
    """Return the largest number of tokens of each utterance: prompt, speech and text, times the number of beams."""
    lens_B = torch.tensor([num_frames[utt_id] for utt_id in durations])
    speech = dict(zip(durations, model.speech_tokens(lens_B).tolist(), strict=True))
    prompts = {
        utt_id: sum(map(len, model.prompt.parts(utt_id, None, contexts.get(utt_id, ""), language)))
        for utt_id in durations
    }
    return {
        utt_id: config.search.num_beams * (prompts[utt_id] + speech[utt_id] + config.max_new_tokens(duration))
        for utt_id, duration in durations.items()
    }

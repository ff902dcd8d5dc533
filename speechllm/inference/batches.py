"""Batches of a decoding job: utterances of similar duration, within limits of speech and of tokens."""

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
    """Return batches of utterance ids: every utterance once, the longest first.

    Args:
        durations: of each utterance.
        num_frames: frames, or states, of each utterance in the dump.
        contexts: of utterances that have one.
        model: gives the numbers of tokens.
        config: limits of a batch.
        padded_duration: duration that the encoder computes for an utterance.
        language: English name, for the prompt.
    """
    tokens = largest_tokens(durations, num_frames, contexts, model, config, language)
    found = []
    for batch in sequential_batches(durations, config, padded_duration):
        longest = max(tokens[utt_id] for utt_id in batch)
        number = -(-len(batch) // max(1, config.batch_tokens // longest))  # of equal parts
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
    """Return the largest number of tokens of each utterance: prompt, speech and text of all beams."""
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

"""Insert speech tokens into prompts, and label the targets of the LLM."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechllm.lengths import length_mask


@dataclass(frozen=True)
class Spliced:
    """Input sequences of the LLM, padded on the right."""

    embeds_BUE: Tensor
    mask_BU: Tensor
    """True for tokens, False for padding; on the CPU."""
    labels_BU: Tensor
    """Next token of each position, or -100 for a position without loss; on the CPU."""


def splice(before: list[Tensor], speech_BSE: Tensor, speech_lens: list[int], after: list[Tensor]) -> list[Tensor]:
    """Concatenate prefix (U, E), speech tokens and suffix (U, E) of each utterance to one prompt (U, E)."""
    return [
        torch.cat([head, speech_SE[:length].to(head.dtype), tail])
        for head, speech_SE, length, tail in zip(before, speech_BSE, speech_lens, after, strict=True)
    ]


def with_targets(prompts: list[Tensor], targets: list[list[int]], target_embeds: list[Tensor]) -> Spliced:
    """Append each target to its prompt, and label the positions before target tokens.

    Args:
        prompts: prompt embeddings (U, E) of each utterance.
        targets: target token ids of each utterance, end-of-sequence included.
        target_embeds: embeddings (U, E) of the targets.
    """
    sequences, labels = [], []
    for prompt_UE, target, embeds_UE in zip(prompts, targets, target_embeds, strict=True):
        sequences.append(torch.cat([prompt_UE, embeds_UE[:-1]]))  # the last token is never an input
        labels.append(torch.tensor([-100] * (len(prompt_UE) - 1) + target))
    labels_BU = pad_sequence(labels, batch_first=True, padding_value=-100)
    mask_BU = length_mask(torch.tensor([len(sequence) for sequence in sequences]), labels_BU.shape[1])
    return Spliced(pad_sequence(sequences, batch_first=True), mask_BU, labels_BU)

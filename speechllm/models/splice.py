"""Replace the one ``<speech>`` mark of each prompt by its embeddings: all length arithmetic is here."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Spliced:
    """Sequences for the LLM, padded on the right."""

    embeds_BUE: Tensor
    mask_BU: Tensor
    """True where a token is."""
    labels_BU: Tensor
    """The token that follows each position, -100 where none is to be predicted."""


def splice(before: list[Tensor], speech_BSE: Tensor, speech_lens_B: Tensor, after: list[Tensor]) -> list[Tensor]:
    """Join prefix (U, E), speech and suffix (U, E) of each utterance to one prompt (U, E)."""
    lengths = speech_lens_B.tolist()
    return [
        torch.cat([head, speech_SE[:length].to(head.dtype), tail])
        for head, speech_SE, length, tail in zip(before, speech_BSE, lengths, after, strict=True)
    ]


def with_targets(prompts: list[Tensor], targets: list[Tensor], target_embeds: list[Tensor]) -> Spliced:
    """Append each target to its prompt and label every position that predicts a target token.

    Args:
        prompts: prompt embeddings (U, E) of each utterance.
        targets: target token ids (U,) of each utterance, end-of-sequence included.
        target_embeds: their embeddings (U, E).
    """
    sequences, labels = [], []
    for prompt_UE, target_U, embeds_UE in zip(prompts, targets, target_embeds, strict=True):
        sequences.append(torch.cat([prompt_UE, embeds_UE[:-1]]))  # nothing follows the last token
        ignored = target_U.new_full((len(prompt_UE) - 1,), -100)
        labels.append(torch.cat([ignored, target_U]))
    lens_B = torch.tensor([len(sequence) for sequence in sequences], device=sequences[0].device)
    embeds_BUE = pad_sequence(sequences, batch_first=True)
    mask_BU = torch.arange(embeds_BUE.shape[1], device=lens_B.device) < lens_B[:, None]
    return Spliced(embeds_BUE, mask_BU, pad_sequence(labels, batch_first=True, padding_value=-100))

"""CTC (Graves et al., 2006): loss and forced alignment of label sequences; label 0 is the blank."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torchaudio.functional import forced_align

from speechllm.interfaces import Posteriors
from speechllm.transfer import to_device


class Span(NamedTuple):
    """States of one label on an alignment path."""

    start: int
    """First state."""
    end: int
    """Last state + 1."""
    mean: float
    """Mean posterior (0 to 1) of the label in these states."""


def ctc_loss(log_probs_BMC: Tensor, input_lens_B: Tensor, labels: list[Tensor]) -> Tensor:
    """Return the summed CTC loss (nats) of label sequences; that of an utterance too short for its labels is 0."""
    label_lens_B = torch.tensor([len(labels_U) for labels_U in labels])
    return functional.ctc_loss(
        log_probs_BMC.transpose(0, 1),
        to_device(pad_sequence(labels, batch_first=True), input_lens_B.device),
        input_lens_B.cpu(),  # PyTorch would also copy the lengths to the CPU and wait
        label_lens_B,
        reduction="sum",
        zero_infinity=True,
    )


def ctc_objective(posteriors: Posteriors, texts: list[str]) -> Tensor:
    """Return the summed CTC loss of transcripts (nats).

    The loss of an utterance with too few states for its labels is 0.
    """
    labels = [torch.tensor(posteriors.subwords(text), dtype=torch.long) + 1 for text in texts]
    return ctc_loss(posteriors.log_probs_BMC, posteriors.stacked_lens_B, labels)


def align(log_probs_MC: Tensor, labels: list[int]) -> list[Span]:
    """Return the states of each label on the best path, without any span if the states are too few for the labels.

    Args:
        log_probs_MC: log-probabilities of the blank (class 0) and other classes in at least one state.
        labels: classes in the order of the sequence.
    """
    repeats = sum(first == second for first, second in itertools.pairwise(labels))  # CTC needs a blank between two
    if not labels or len(labels) + repeats > len(log_probs_MC):
        return []
    classes, places_U = torch.tensor(labels).unique(return_inverse=True)
    columns = to_device(torch.cat([torch.zeros(1, dtype=torch.long), classes]), log_probs_MC.device)
    used_1MK = log_probs_MC.detach()[:, columns].float().cpu()[None]
    path_1M, scores_1M = forced_align(used_1MK, places_U[None] + 1)
    spans, begin = [], 0
    for label, run in itertools.groupby(path_1M[0].tolist()):
        end = begin + len(list(run))
        if label != 0:
            spans.append(Span(begin, end, float(scores_1M[0, begin:end].exp().mean())))
        begin = end
    return spans

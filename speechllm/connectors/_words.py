"""Words found by CTC over first units, and positions that continue them with further units."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechllm.ctc import align
from speechllm.transfer import to_device

BEGINNINGS = 3
"""Largest number of first units that are continued for each word."""
LEAST_SHARE = 0.1
"""Least share (0 to 1) of a first unit that is continued beside the best one."""


@dataclass
class Words:
    """Words of a batch (R), and the keys and values of their positions in each layer."""

    utts_R: Tensor
    """Utterance of each word."""
    states_R: Tensor
    """Stacked state that names the first unit."""
    past: list[tuple[Tensor, Tensor]]
    """Keys and values (R, K, H) of the stacked state and of the K - 1 positions after it, for each layer."""

    def append(self, layer: int, keys_RH: Tensor, values_RH: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of a new position to those of a layer, and return all of them."""
        keys_RKH, values_RKH = self.past[layer]
        self.past[layer] = torch.cat([keys_RKH, keys_RH[:, None]], 1), torch.cat([values_RKH, values_RH[:, None]], 1)
        return self.past[layer]

    def select(self, places: Tensor | slice) -> "Words":
        """Return some of the words."""
        past = [(keys_RKH[places], values_RKH[places]) for keys_RKH, values_RKH in self.past]
        return Words(self.utts_R[places], self.states_R[places], past)


class Transcribed(NamedTuple):
    """Words of transcripts and their states, those with the most units first."""

    utts_R: Tensor
    states_R: Tensor
    units: list[list[int]]
    """Indices of the units of each word."""

    def longer(self, number: int) -> int:
        """Return the number of words with more than ``number`` units."""
        return sum(len(units) > number for units in self.units)


def split_words(units: list[int], begins: list[bool]) -> list[list[int]]:
    """Split the units of a text into words; ``begins``: whether each unit begins a word."""
    words: list[list[int]] = []
    for unit in units:
        if begins[unit]:
            words.append([unit])
        elif words:
            words[-1].append(unit)
    return words


def locate(log_probs_BMW: Tensor, lens_B: Tensor, labels: list[list[int]], words: list[list[list[int]]]) -> Transcribed:
    """Return the words of transcripts with the last state of their first units on the best CTC path.

    Words of an utterance with too few states are left out.

    Args:
        log_probs_BMW: log-probabilities of the blank (class 0) and the first units.
        lens_B: number of valid states.
        labels: classes of the first units of each transcript.
        words: units of each word of each transcript.
    """
    found = []
    for utt, length in enumerate(lens_B.tolist()):
        spans = align(log_probs_BMW[utt, :length], labels[utt])
        found += [(utt, span.end - 1, units) for span, units in zip(spans, words[utt], strict=False)]
    found.sort(key=lambda one: -len(one[2]))
    places_2R = torch.tensor([[utt for utt, _, _ in found], [state for _, state, _ in found]])
    utts_R, states_R = to_device(places_2R, log_probs_BMW.device)
    return Transcribed(utts_R, states_R, [units for _, _, units in found])


def run_ends(best_BM: Tensor) -> tuple[Tensor, Tensor]:
    """Return the utterances and the last states of all runs of states with the same best label, blanks left out."""
    ends_BM = (best_BM > 0) & (best_BM != pad(best_BM[:, 1:], (0, 1)))
    utts_R, states_R = ends_BM.nonzero(as_tuple=True)
    return utts_R, states_R


def beginnings(log_probs_NW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the probable first units of words: the index of the word, the class, and the share of each.

    The shares of a word are posteriors, normalised so that their sum is 1.

    Args:
        log_probs_NW: log-probabilities of the blank (class 0) and the first units at each word.
    """
    best_NK, classes_NK = log_probs_NW[:, 1:].topk(min(BEGINNINGS, log_probs_NW.shape[1] - 1))
    posteriors_NK = best_NK.exp() / (1 - log_probs_NW[:, :1].exp())
    used_NK = posteriors_NK >= posteriors_NK[:, :1].clamp(max=LEAST_SHARE)
    shares_NK = posteriors_NK * used_NK / (posteriors_NK * used_NK).sum(1, keepdim=True)
    return used_NK.nonzero()[:, 0], 1 + classes_NK[used_NK], shares_NK[used_NK]


def mixture(word_R: Tensor, shares_R: Tensor, hidden_RH: Tensor, log_probs_RF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mixture of the beginnings of each word: index of the word, hidden state, and log-probabilities.

    Args:
        word_R: index of the word of each beginning that goes on; the others are at the end of the word (class 0).
        shares_R: share of each beginning; the sum over all beginnings of a word is 1.
        hidden_RH: hidden states.
        log_probs_RF: log-probabilities of the word's end (class 0) and of further units.
    """
    word_N, row_R = word_R.unique(return_inverse=True)
    weights_R1 = shares_R[:, None]
    goes_on_N1 = shares_R.new_zeros(len(word_N), 1).index_add(0, row_R, weights_R1)
    probs_NF = log_probs_RF.new_zeros(len(word_N), log_probs_RF.shape[1])
    probs_NF = probs_NF.index_add(0, row_R, weights_R1 * log_probs_RF.exp())
    ended_NF = pad(1 - goes_on_N1, (0, probs_NF.shape[1] - 1))
    hidden_NH = hidden_RH.new_zeros(len(word_N), hidden_RH.shape[1])
    hidden_NH = hidden_NH.index_add(0, row_R, (weights_R1 / goes_on_N1[row_R]).to(hidden_RH.dtype) * hidden_RH)
    return word_N, hidden_NH, (probs_NF + ended_NF).clamp(min=torch.finfo(probs_NF.dtype).tiny).log()


class Positions(NamedTuple):
    """Positions of one step: those of the stacked states (step 0), or those after the units of words."""

    utts_R: Tensor
    states_R: Tensor
    """Stacked state of each position."""
    step: int
    """Number of positions between the stacked state and these."""
    hidden_RH: Tensor
    log_probs_RC: Tensor


def in_order(steps: list[Positions], lens_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Insert the positions of further units after their stacked states.

    Args:
        steps: positions of all valid stacked states, and those of every further step.
        lens_B: number of valid stacked states.

    Returns:
        Padded hidden states (B, M, H), log-probabilities (B, M, C) and stacked states (B, M) of all positions, and the
        number of positions of each utterance.
    """
    number_BM = torch.zeros(len(lens_B), int(lens_B.max()), dtype=torch.long, device=lens_B.device)
    for one in steps[1:]:
        number_BM[one.utts_R, one.states_R] += 1
    index_BM = torch.arange(number_BM.shape[1], device=lens_B.device) + number_BM.cumsum(1) - number_BM
    lens_B = lens_B + number_BM.sum(1)
    utts, states = torch.cat([one.utts_R for one in steps]), torch.cat([one.states_R for one in steps])
    index = utts, torch.cat([index_BM[one.utts_R, one.states_R] + one.step for one in steps])
    hidden, log_probs = torch.cat([one.hidden_RH for one in steps]), torch.cat([one.log_probs_RC for one in steps])
    shape = len(lens_B), int(lens_B.max())
    return (
        hidden.new_zeros(*shape, hidden.shape[1]).index_put(index, hidden),
        log_probs.new_zeros(*shape, log_probs.shape[1]).index_put(index, log_probs),
        states.new_zeros(shape).index_put(index, states),
        lens_B,
    )

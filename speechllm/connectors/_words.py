"""Words found by CTC over their first tokens, and the spellings of words."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechllm.ctc import align
from speechllm.lengths import ranks
from speechllm.transfer import to_device

CHOICES = 3
"""Largest number of first tokens of a word, and of tokens after each of its spellings."""
LEAST_SHARE = 0.1
"""Least probability of a spelling, relative to that of the word's best spelling."""
MOST_SPELLINGS = 5
"""Largest number of spellings of a word after each token."""


@dataclass
class Words:
    """Words of a batch (R), and the keys and values of their positions in each layer."""

    utts_R: Tensor
    """Utterance of each word, or segment of an utterance."""
    places_R: Tensor
    """Place of its first token: a stacked state, or a position of a text."""
    past: list[tuple[Tensor, Tensor]]
    """Keys and values (R, K, H) of the K positions of each word in each layer."""

    def append(self, layer: int, keys_RH: Tensor, values_RH: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of a new position to those of a layer, and return all of them."""
        keys_RKH, values_RKH = self.past[layer]
        self.past[layer] = torch.cat([keys_RKH, keys_RH[:, None]], 1), torch.cat([values_RKH, values_RH[:, None]], 1)
        return self.past[layer]

    def select(self, places: Tensor | slice) -> "Words":
        """Return some of the words."""
        past = [(keys_RKH[places], values_RKH[places]) for keys_RKH, values_RKH in self.past]
        return Words(self.utts_R[places], self.places_R[places], past)


class Transcribed(NamedTuple):
    """Words of transcripts and their states, those with the most tokens first."""

    utts_R: Tensor
    states_R: Tensor
    tokens: list[list[int]]
    """Tokens of each word."""

    def longer(self, number: int) -> int:
        """Return the number of words with more than ``number`` tokens."""
        return sum(len(tokens) > number for tokens in self.tokens)


def locate(log_probs_BMW: Tensor, lens_B: Tensor, labels: list[list[int]], words: list[list[list[int]]]) -> Transcribed:
    """Return the words of transcripts with the last state of their first tokens on the best CTC path.

    Words of an utterance with too few states are left out.

    Args:
        log_probs_BMW: log-probabilities of the blank (class 0) and the first tokens.
        lens_B: number of valid states.
        labels: classes of the first tokens of each transcript.
        words: tokens of each word of each transcript.
    """
    found = []
    for utt, length in enumerate(lens_B.tolist()):
        spans = align(log_probs_BMW[utt, :length], labels[utt])
        found += [(utt, span.end - 1, tokens) for span, tokens in zip(spans, words[utt], strict=False)]
    found.sort(key=lambda one: -len(one[2]))
    places_2R = torch.tensor([[utt for utt, _, _ in found], [state for _, state, _ in found]])
    utts_R, states_R = to_device(places_2R, log_probs_BMW.device)
    return Transcribed(utts_R, states_R, [tokens for _, _, tokens in found])


class Runs(NamedTuple):
    """Runs of states with the same best label, blanks left out (N)."""

    utts_N: Tensor
    firsts_N: Tensor
    """First state of each run."""
    lasts_N: Tensor
    """Last state of each run."""


def best_runs(best_BM: Tensor) -> Runs:
    """Return the runs of best labels; label 0 is the blank."""
    named_BM = best_BM > 0
    changes_BM = best_BM[:, 1:] != best_BM[:, :-1]
    utts_N, firsts_N = (named_BM & pad(changes_BM, (1, 0), value=True)).nonzero(as_tuple=True)
    lasts_N = (named_BM & pad(changes_BM, (0, 1), value=True)).nonzero(as_tuple=True)[1]
    return Runs(utts_N, firsts_N, lasts_N)


class Spelling(NamedTuple):
    """Tokens of a word, and their probability."""

    tokens: tuple[int, ...]
    prob: float


class SpellingSearch:
    """Search for the probable spellings of words (N), token by token.

    A spelling is left out if its probability is below ``LEAST_SHARE`` of that of the word's best spelling, which is a
    complete one, or one with the same number of tokens; and all but the ``MOST_SPELLINGS`` best ones after each token.

    Args:
        number: number of words.
        device: device of the scores.
        choices: largest number of first tokens of a word, and of tokens after each of its spellings.
    """

    def __init__(self, number: int, device: torch.device, choices: int = CHOICES) -> None:
        self._choices = choices
        self.words_R = torch.arange(number, device=device)
        """Word of each spelling that is not complete."""
        self.tokens_RS = torch.empty(number, 0, dtype=torch.long, device=device)
        """Tokens of these spellings."""
        self._probs_R = torch.ones(number, device=device)
        self._best_complete_N = torch.zeros(number, device=device)
        self._complete: list[list[Spelling]] = [[] for _ in range(number)]

    def extend(self, log_probs_RC: Tensor, tokens_C: Tensor) -> Tensor:
        """Append the probable next tokens, and return the index of the spelling before each that is not complete.

        Args:
            log_probs_RC: log-probabilities of the classes after each spelling.
            tokens_C: token of each class; -1 for the end of the word.
        """
        top_RK, classes_RK = log_probs_RC.detach().topk(min(self._choices, log_probs_RC.shape[1]))
        probs_RK = self._probs_R[:, None] * top_RK.exp()
        best_N = self._best_complete_N.scatter_reduce(0, self.words_R, probs_RK[:, 0], "amax")
        used_RK = probs_RK >= LEAST_SHARE * best_N[self.words_R, None]
        rows_Q, places_Q = used_RK.nonzero(as_tuple=True)
        best_Q = _best(self.words_R[rows_Q], probs_RK[rows_Q, places_Q], MOST_SPELLINGS)
        rows_Q, places_Q = rows_Q[best_Q], places_Q[best_Q]
        tokens_Q, probs_Q = tokens_C[classes_RK[rows_Q, places_Q]], probs_RK[rows_Q, places_Q]
        ends_Q = tokens_Q < 0
        self._add(self.words_R[rows_Q[ends_Q]], self.tokens_RS[rows_Q[ends_Q]], probs_Q[ends_Q])
        rows_Q, tokens_Q, self._probs_R = rows_Q[~ends_Q], tokens_Q[~ends_Q], probs_Q[~ends_Q]
        self.words_R, self.tokens_RS = self.words_R[rows_Q], torch.cat([self.tokens_RS[rows_Q], tokens_Q[:, None]], 1)
        return rows_Q

    def finish(self) -> list[list[Spelling]]:
        """Return the spellings of each word."""
        self._add(self.words_R, self.tokens_RS, self._probs_R)
        return self._complete

    def _add(self, words_Q: Tensor, tokens_QS: Tensor, probs_Q: Tensor) -> None:
        self._best_complete_N = self._best_complete_N.scatter_reduce(0, words_Q, probs_Q, "amax")
        for word, tokens, prob in zip(words_Q.tolist(), tokens_QS.tolist(), probs_Q.tolist(), strict=True):
            self._complete[word].append(Spelling(tuple(tokens), prob))


def _best(groups_Q: Tensor, scores_Q: Tensor, number: int) -> Tensor:
    """Return the indices of the ``number`` highest scores of each group, in ascending order."""
    order_Q = scores_Q.argsort(descending=True)
    return order_Q[ranks(groups_Q[order_Q]) < number].sort().values

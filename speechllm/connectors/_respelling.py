"""Posteriors over the LLM's units, from words in Whisper's tokens.

The two tokenizers split many words differently. The posterior of a unit in a state is the sum over the tokens of
Whisper whose words begin with it. Positions with the further units of a word's spellings are inserted after its last
state.
"""

import math
from collections import defaultdict
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._words import Runs, Spelling
from speechllm.interfaces import SubwordUnits
from speechllm.transfer import to_device

LEAST = torch.finfo(torch.float32).tiny
"""Posterior of impossible units: its logarithm is finite, so that differences are, too."""


class Respelled(NamedTuple):
    """Posteriors over the LLM's units."""

    log_probs_BPC: Tensor
    """Log-probabilities of the blank (class 0) and the units at states and inserted positions."""
    states_BP: Tensor
    """State of each position."""
    lens_B: Tensor
    """Number of valid positions."""


class Respelling:
    """Conversion of posteriors over Whisper's tokens to the LLM's units.

    Args:
        tokens: tokens of Whisper.
        units: units of the LLM.
        first_W: token of each class of first tokens; class 0 is the blank.
    """

    def __init__(self, tokens: WhisperTokens, units: SubwordUnits, first_W: Tensor) -> None:
        self._tokens, self._units = tokens, units
        self._known: dict[tuple[int, ...], list[int]] = {}
        self._token_class = {token: place for place, token in enumerate(first_W.tolist())}
        self._unit_of = [0, *(self._classes((token,))[0] for token in first_W[1:].tolist())]
        self._first_units_W = torch.tensor(self._unit_of, device=first_W.device)

    def __call__(self, log_probs_BMW: Tensor, lens_B: Tensor, runs: Runs, spellings: list[list[Spelling]]) -> Respelled:
        """Return the posteriors over the LLM's units.

        Args:
            log_probs_BMW: log-probabilities of the blank (class 0) and the first tokens in each state.
            lens_B: number of valid states.
            runs: states of the words.
            spellings: spellings of each word.
        """
        device = log_probs_BMW.device
        number_BM = torch.zeros(log_probs_BMW.shape[:2], dtype=torch.long)  # inserted positions after each state
        corrections, inserted = [], []
        for utt, first, last, one in zip(*(places_N.tolist() for places_N in runs), spellings, strict=True):
            corrections += [(utt, state, *each) for each in self._corrections(one) for state in range(first, last + 1)]
            further = self._further(one)
            number_BM[utt, last] = len(further)
            inserted += [(utt, last, step, *each) for step, probs in enumerate(further) for each in probs.items()]
        states = [
            torch.arange(length).repeat_interleave(1 + number_M[:length])
            for length, number_M in zip(lens_B.tolist(), number_BM, strict=True)
        ]
        states_BP = to_device(pad_sequence(states, batch_first=True), device)
        log_probs_BMC = self._first_units(log_probs_BMW.exp(), corrections).clamp(min=LEAST).log()
        log_probs_BPC = log_probs_BMC[torch.arange(len(states), device=device)[:, None], states_BP]
        if inserted:
            places_BM = torch.arange(1, 1 + number_BM.shape[1]) + number_BM.cumsum(1) - number_BM
            utts_Q, lasts_Q, steps_Q, classes_Q, probs_Q = map(torch.tensor, zip(*inserted, strict=True))
            index = to_device(torch.stack([utts_Q, places_BM[utts_Q, lasts_Q] + steps_Q, classes_Q]), device)
            log_probs_BPC[index[0], index[1]] = math.log(LEAST)
            log_probs_BPC[tuple(index)] = to_device(probs_Q, device).clamp(min=LEAST).log()
        return Respelled(log_probs_BPC, states_BP, lens_B + to_device(number_BM.sum(1), device))

    def _first_units(self, probs_BMW: Tensor, corrections: list[tuple[int, int, int, int, float]]) -> Tensor:
        """Return the posteriors (B, M, C) of the blank and the first units of words.

        Args:
            probs_BMW: posteriors of the blank and the first tokens.
            corrections: utterance, state, class of a token, unit of words that begin with it but not with the unit of
                its own text, and their share of its posterior.
        """
        self._first_units_W = self._first_units_W.to(probs_BMW.device)
        shape = *probs_BMW.shape[:2], 1 + len(self._units.ids)
        if not corrections:
            return probs_BMW.new_zeros(shape).scatter_add(2, self._first_units_W.expand_as(probs_BMW), probs_BMW)
        utts_Q, states_Q, tokens_Q, units_Q, shares_Q = (
            to_device(torch.tensor(each), probs_BMW.device) for each in zip(*corrections, strict=True)
        )
        moved_Q = shares_Q * probs_BMW[utts_Q, states_Q, tokens_Q]
        probs_BMW = probs_BMW.index_put((utts_Q, states_Q, tokens_Q), -moved_Q, accumulate=True)
        probs_BMC = probs_BMW.new_zeros(shape).scatter_add(2, self._first_units_W.expand_as(probs_BMW), probs_BMW)
        return probs_BMC.index_put((utts_Q, states_Q, units_Q), moved_Q, accumulate=True)

    def _corrections(self, spellings: list[Spelling]) -> list[tuple[int, int, float]]:
        """Return class of a token, unit and share for all spellings with another first unit than their first token."""
        totals: defaultdict[int, float] = defaultdict(float)
        for tokens, prob in spellings:
            totals[tokens[0]] += prob
        found = []
        for tokens, prob in spellings:
            token, unit = self._token_class[tokens[0]], self._classes(tokens)[0]
            if unit != self._unit_of[token]:
                found.append((token, unit, prob / totals[tokens[0]]))
        return found

    def _further(self, spellings: list[Spelling]) -> list[dict[int, float]]:
        """Return the posteriors of the units at each position after a word's last state; class 0: no further unit."""
        total = sum(prob for _, prob in spellings)
        units = [self._classes(tokens)[1:] for tokens, _ in spellings]
        further: list[dict[int, float]] = []
        for step in range(max(map(len, units))):
            probs: defaultdict[int, float] = defaultdict(float)
            for one, (_, prob) in zip(units, spellings, strict=True):
                probs[one[step] if step < len(one) else 0] += prob / total
            further.append(probs)
        return further

    def _classes(self, tokens: tuple[int, ...]) -> list[int]:
        """Return the classes of the units of a word, the blank for a word without units."""
        if tokens not in self._known:
            self._known[tokens] = [1 + place for place in self._units(self._tokens.text(tokens))] or [0]
        return self._known[tokens]

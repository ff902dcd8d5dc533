"""Greedy search, with one token per step or with drafts that the LLM verifies.

Speculative decoding (Leviathan et al., 2023, arXiv 2211.17192): one pass of the LLM computes the logits after every
token of a draft. Drafted tokens are accepted up to the first one that is not the LLM's best token, which replaces it.
The result equals that of greedy search without drafts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from speechllm.decoders._draft import Draft
from speechllm.decoders._scores import TokenScores
from speechllm.decoders._state import SearchState

WINDOW = 8
"""Largest number of drafted tokens in a pass."""
CUT = 4
"""At most one draft in four is cut in a pass, because all rows are padded to the longest draft."""


@dataclass
class Row:
    """Partial hypothesis of one utterance."""

    max_new_tokens: int
    """Largest number of tokens."""
    draft: Draft
    ids: list[int] = field(default_factory=list)
    """Tokens without the end of sequence."""
    log_probs: list[float] = field(default_factory=list)
    """Log-probability of each token, and of the end of sequence if it was reached."""
    num_drafted: int = 0
    """Number of drafted tokens that the LLM verified."""
    num_accepted: int = 0
    """Number of drafted tokens that the LLM accepted."""
    has_ended: bool = False

    def append(self, token: int, log_prob: float, eos: int) -> None:
        """Append a token, which may be the end of sequence."""
        self.log_probs.append(log_prob)
        if token == eos:
            self.has_ended = True
            return
        self.ids.append(token)
        self.draft.follow(token)
        self.has_ended = len(self.ids) >= self.max_new_tokens

    def drafted(self) -> list[int]:
        """Return the drafted tokens of the next pass."""
        return [] if self.has_ended else self.draft.rest(min(WINDOW, self.max_new_tokens - len(self.ids) - 1))

    def score(self, length_penalty: float) -> float:
        """Return the log-probability divided by length ** length_penalty, as in beam search."""
        return sum(self.log_probs) / max(1, len(self.log_probs)) ** length_penalty


class GreedySearch:
    """Greedy search of several utterances, each with its own ``max_new_tokens`` and draft.

    Args:
        rows: one row per utterance.
        scores: scores of tokens.
        eos: end-of-sequence token.
        device: device of the LLM.
    """

    def __init__(self, rows: Sequence[Row], scores: TokenScores, eos: int, device: torch.device) -> None:
        self.rows, self._scores, self._eos, self._device = rows, scores, eos, device
        self._places = list(range(len(rows)))
        self._drafted = _cut([row.drafted() for row in rows])

    def first_draft(self) -> Tensor:
        """Return the drafted tokens (B, U) of the first pass, after the prompts; padded on the right."""
        return self._padded(self._drafted)

    def run(self, state: SearchState, logits_RUV: Tensor) -> None:
        """Search to the end.

        Args:
            state: state of the LLM after the prompts and first drafts.
            logits_RUV: logits after each prompt and each drafted token.
        """
        while True:
            accepted = self._verify(logits_RUV)
            running = [i for i, place in enumerate(self._places) if not self.rows[place].has_ended]
            if not running:
                return
            rejected = [logits_RUV.shape[1] - 1 - number for number in accepted]
            if state.is_plain and len(running) < len(self._places):
                state.take(torch.tensor(running, device=self._device))
                self._places, rejected = [self._places[i] for i in running], [rejected[i] for i in running]
            if any(rejected):
                state.remove(rejected)
            rows = [self.rows[place] for place in self._places]
            self._drafted = _cut([row.drafted() if state.is_plain else [] for row in rows])
            last = [row.ids[-1] if row.ids else self._eos for row in rows]
            logits_RUV = state.extend(
                self._padded([[one, *rest] for one, rest in zip(last, self._drafted, strict=True)])
            )

    def _verify(self, logits_RUV: Tensor) -> list[int]:
        """Append to each running row its accepted tokens and one further token; return the numbers of accepted tokens.

        Args:
            logits_RUV: logits after the last token of the row, and after each drafted token.
        """
        accepted = [0] * len(self._places)
        walking = [i for i, place in enumerate(self._places) if not self.rows[place].has_ended]
        at_once = _best(logits_RUV) if self._scores.is_plain else None
        for column in range(logits_RUV.shape[1]):
            if at_once is not None:
                found = [(at_once[0][i][column], at_once[1][i][column]) for i in walking]
            else:
                found = self._best_scores(logits_RUV[:, column], walking)
            for i, (token, log_prob) in zip(walking, found, strict=True):
                self.rows[self._places[i]].append(token, log_prob, self._eos)
                accepted[i] += self._drafted[i][column : column + 1] == [token]
            walking = [i for i in walking if accepted[i] > column and not self.rows[self._places[i]].has_ended]
            if not walking:
                break
        for place, drafted, number in zip(self._places, self._drafted, accepted, strict=True):
            self.rows[place].num_drafted += len(drafted)
            self.rows[place].num_accepted += number
        return accepted

    def _best_scores(self, logits_RV: Tensor, walking: list[int]) -> list[tuple[int, float]]:
        """Return the token with the best score and its log-probability for the rows with the indices ``walking``."""
        places = [self._places[i] for i in walking]
        rows_N = torch.tensor(places, device=self._device)
        prefixes = [self.rows[place].ids for place in places]
        scores_NV = self._scores(logits_RV[torch.tensor(walking, device=self._device)], rows_N, prefixes)
        tokens, log_probs = _best(scores_NV)
        if self._scores.joint is not None:
            self._scores.joint.keep(rows_N, torch.tensor(tokens, device=self._device))
        return list(zip(tokens, log_probs, strict=True))

    def _padded(self, ids: list[list[int]]) -> Tensor:
        """Return lists of tokens as one tensor (R, U), padded on the right."""
        width = max(map(len, ids))
        padded = [one + [self._eos] * (width - len(one)) for one in ids]
        return torch.tensor(padded, dtype=torch.long, device=self._device).reshape(len(ids), width)


def _cut(drafted: list[list[int]]) -> list[list[int]]:
    """Return drafts with less difference in length: at most one in ``CUT`` is cut."""
    lengths = sorted(map(len, drafted), reverse=True)
    return [tokens[: lengths[len(lengths) // CUT]] for tokens in drafted]


def _best(scores: Tensor) -> tuple[list, list]:
    """Return the tokens with the best of the scores (..., V), and their log-probabilities."""
    scores = scores.float()
    tokens = scores.argmax(-1)
    log_probs = scores.gather(-1, tokens[..., None])[..., 0] - scores.logsumexp(-1)
    return tokens.tolist(), log_probs.tolist()

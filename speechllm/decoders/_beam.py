"""Beam search with K beams per utterance.

It equals beam search of transformers with ``early_stopping=False``: a score is a sum of log-probabilities divided by
the length to the power of the length penalty, and an utterance ends when its best running beam, at its present length,
has a lower score than its worst hypothesis.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechllm.decoders._scores import TokenScores
from speechllm.decoders._state import SearchState
from speechllm.interfaces import GenerationOptions

LOW = -1e9
"""Score of an empty place in a list of beams."""


class Beams(NamedTuple):
    """Token sequences of B utterances with K beams each."""

    ids_BKU: Tensor
    log_probs_BKU: Tensor
    """Log-probability, or joint score, of each token."""
    scores_BK: Tensor

    def gather(self, places_BX: Tensor) -> "Beams":
        """Return the beams with the indices ``places_BX`` of each utterance."""
        places_BXU = places_BX[..., None].expand(-1, -1, self.ids_BKU.shape[2])
        return Beams(
            self.ids_BKU.gather(1, places_BXU),
            self.log_probs_BKU.gather(1, places_BXU),
            self.scores_BK.gather(1, places_BX),
        )

    def join(self, other: "Beams") -> "Beams":
        """Return the beams of both, concatenated for each utterance."""
        return Beams(*(torch.cat(pair, 1) for pair in zip(self, other, strict=True)))

    def append(self, tokens_BK: Tensor, log_probs_BK: Tensor, scores_BK: Tensor) -> "Beams":
        """Return the beams, each extended by a token, with new scores."""
        return Beams(
            torch.cat([self.ids_BKU, tokens_BK[..., None]], 2),
            torch.cat([self.log_probs_BKU, log_probs_BK[..., None]], 2),
            scores_BK,
        )


class BeamSearch:
    """Beam search of several utterances, each with its own ``max_new_tokens``.

    Args:
        max_new_tokens: largest number of tokens of each utterance.
        options: beam width K and length penalty.
        scores: scores of tokens; its rows are the utterances.
        eos: end-of-sequence token.
        device: device of the LLM.
    """

    def __init__(
        self, max_new_tokens: list[int], options: GenerationOptions, scores: TokenScores, eos: int, device: torch.device
    ) -> None:
        self._width, self._penalty = options.num_beams, options.length_penalty
        self._scores, self._eos = scores, eos
        self._limits_B = torch.tensor(max_new_tokens, device=device)
        self._largest_limit = max(max_new_tokens)
        self._utts = list(range(len(max_new_tokens)))
        empty_BKU = torch.empty(len(max_new_tokens), self._width, 0, device=device)
        first_BK = torch.full((len(max_new_tokens), self._width), LOW, device=device)
        self._ended = self._padded(Beams(empty_BKU.long(), empty_BKU, first_BK))
        self._has_ended_BK = torch.zeros_like(first_BK, dtype=torch.bool)
        self._is_open_B = torch.ones_like(self._limits_B, dtype=torch.bool)
        first_BK = first_BK.clone()
        first_BK[:, 0] = 0.0  # other beams would be copies of the first
        self._running = Beams(empty_BKU.long(), empty_BKU, first_BK)
        self._results: dict[int, Beams] = {}

    def run(self, state: SearchState, logits_BV: Tensor) -> list[Beams]:
        """Search to the end; return the K best hypotheses of each utterance, best first.

        Args:
            state: state of the LLM after the prompts.
            logits_BV: logits after each prompt.
        """
        rows_R = torch.arange(len(self._utts), device=self._limits_B.device).repeat_interleave(self._width)
        state.take(rows_R)
        if self._scores.joint is not None:
            self._scores.joint.take(rows_R)
        logits_RV = logits_BV[rows_R]
        while True:
            parents_BK = self._step(logits_RV)
            open_B = self._is_open_B.tolist()
            for i, utt in enumerate(self._utts):
                if not open_B[i]:
                    self._results.setdefault(utt, Beams(*(each[i] for each in self._ended)))
            if not any(open_B):
                return [self._results[utt] for utt in sorted(self._results)]
            if state.is_plain and not all(open_B):
                parents_BK = self._drop(parents_BK)
            rows_R = parents_BK.flatten()
            state.take(rows_R)
            logits_RV = state.extend(self._running.ids_BKU[..., -1].reshape(-1, 1))[:, -1]

    def _step(self, logits_RV: Tensor) -> Tensor:
        """Select continuing and ended beams; return the parent row (B, K) of each continuing beam."""
        length = self._running.ids_BKU.shape[2] + 1
        log_probs_RV = self._log_probs(logits_RV)
        num_tokens = log_probs_RV.shape[1]
        log_probs_BX = log_probs_RV.reshape(len(self._utts), -1)
        totals_BX = log_probs_BX + self._running.scores_BK.repeat_interleave(num_tokens, 1)
        # 2 K candidates, because each of the K beams may end
        totals_BX, places_BX = totals_BX.topk(2 * self._width)
        beams_BX, tokens_BX = places_BX // num_tokens, places_BX % num_tokens
        longer = self._running.gather(beams_BX).append(tokens_BX, log_probs_BX.gather(1, places_BX), totals_BX)
        ends_BX = tokens_BX == self._eos
        self._end(longer, ends_BX, length)
        next_BK = torch.where(ends_BX, totals_BX + LOW, totals_BX).topk(self._width).indices
        self._running = longer.gather(next_BK)
        best_B1 = self._running.scores_BK[:, :1] / length**self._penalty
        worst_BK = torch.where(self._has_ended_BK, self._ended.scores_BK.amin(1, keepdim=True), LOW)
        self._is_open_B &= (best_B1 > worst_BK).any(1) & (self._limits_B >= length)
        first_row_B1 = torch.arange(len(self._utts), device=places_BX.device)[:, None] * self._width
        parents_BK = beams_BX.gather(1, next_BK) + first_row_B1
        if self._scores.joint is not None:
            self._scores.joint.follow(parents_BK.flatten(), self._running.ids_BKU[..., -1].flatten())
        return parents_BK

    def _log_probs(self, logits_RV: Tensor) -> Tensor:
        """Return the scores of the next tokens; at ``max_new_tokens``, only the end of sequence is possible."""
        log_probs_RV = logits_RV.float().log_softmax(-1)
        if not self._scores.is_plain:
            prefixes = self._running.ids_BKU.flatten(0, 1).tolist() if self._scores.needs_prefixes else []
            rows_R = torch.arange(len(logits_RV), device=logits_RV.device)
            log_probs_RV = self._scores(log_probs_RV, rows_R, prefixes)
        at_limit_B = self._limits_B <= self._running.ids_BKU.shape[2]
        only_end_RV = torch.full_like(log_probs_RV, float("-inf"))
        only_end_RV[:, self._eos] = log_probs_RV[:, self._eos]
        return torch.where(at_limit_B.repeat_interleave(self._width)[:, None], only_end_RV, log_probs_RV)

    def _end(self, longer: Beams, ends_BX: Tensor, length: int) -> None:
        """Keep the K best of the hypotheses so far and of those of the K best beams that end now, per utterance."""
        ends_BX = ends_BX & (torch.arange(ends_BX.shape[1], device=ends_BX.device) < self._width)
        scores_BX = torch.where(ends_BX, longer.scores_BK / length**self._penalty, LOW)
        both = self._ended.join(self._padded(longer._replace(scores_BK=scores_BX)))
        best_BK = both.scores_BK.topk(self._width).indices
        self._ended = both.gather(best_BK)
        self._has_ended_BK = torch.cat([self._has_ended_BK, ends_BX], 1).gather(1, best_BK)

    def _drop(self, parents_BK: Tensor) -> Tensor:
        """Drop utterances that have ended; return the parents of the others."""
        left_B = self._is_open_B
        rows_R = left_B.repeat_interleave(self._width).nonzero()[:, 0]
        if self._scores.joint is not None:
            self._scores.joint.take(rows_R)
        self._utts = [utt for utt, is_open in zip(self._utts, left_B.tolist(), strict=True) if is_open]
        self._running, self._ended = (Beams(*(each[left_B] for each in one)) for one in (self._running, self._ended))
        self._has_ended_BK, self._limits_B = self._has_ended_BK[left_B], self._limits_B[left_B]
        self._is_open_B = left_B[left_B]
        return parents_BK[left_B]

    def _padded(self, beams: Beams) -> Beams:
        """Pad the tokens of beams to the largest length with the end of sequence."""
        width = (0, self._largest_limit + 1 - beams.ids_BKU.shape[2])
        ids_BKU, log_probs_BKU = pad(beams.ids_BKU, width, value=self._eos), pad(beams.log_probs_BKU, width)
        return Beams(ids_BKU, log_probs_BKU, beams.scores_BK)

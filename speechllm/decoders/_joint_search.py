"""Joint decoding: the LLM and the connector's CTC choose each token together.

Hori, Watanabe and Hershey (2017), "Joint CTC/attention decoding for end-to-end speech recognition". CTC gives loops and
early ends a low score; the LLM corrects the errors of CTC by context. Sums over all alignments are cumulative sums, in
double precision and without a loop over time.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import LogitsProcessor

from speechllm.interfaces import GenerationOptions, Posteriors

NEG_INF = float("-inf")
IMPOSSIBLE = -1e4  # in sums of scores


class Prefixes(NamedTuple):
    """Log-probabilities of beginnings of transcripts (...), by CTC."""

    non_blank_M: Tensor
    """Of an end at each stacked state in the last unit; (..., M + 1), column 0 is before the first state."""
    blank_M: Tensor
    """Of an end at each stacked state in a blank."""
    last: Tensor
    """The class of the last unit; -1: none."""
    total: Tensor
    """Of all transcripts with this beginning."""

    def take(self, *places: Tensor) -> "Prefixes":
        """Return those at ``places``, indices of the first dimensions."""
        return Prefixes(*(each[places] for each in self))


class CTCPrefixScorer:
    """CTC's probability of transcripts that begin with given units (Watanabe et al., 2017, algorithm 2).

    Args:
        log_probs_RMC: log-probabilities of blank (class 0) and units, of R rows.
        lens_R: valid states.
    """

    def __init__(self, log_probs_RMC: Tensor, lens_R: Tensor) -> None:
        self._log_probs_RCM = log_probs_RMC.double().transpose(1, 2)
        self._lens_R = lens_R
        self._blanks_RM = pad(self._log_probs_RCM[:, 0].cumsum(-1), (1, 0))

    def begin(self) -> Prefixes:
        """Return the empty beginning of each row (R)."""
        none_R = torch.zeros_like(self._blanks_RM[:, 0])
        non_blank_RM = torch.full_like(self._blanks_RM, NEG_INF)
        return Prefixes(non_blank_RM, self._blanks_RM, none_R.long() - 1, none_R)

    def extend(self, prefixes: Prefixes, classes_RK: Tensor) -> Prefixes:
        """Return R x K beginnings, each extended by one of K units; class -1 leaves a beginning as it is."""
        row_R = torch.arange(len(classes_RK), device=classes_RK.device)[:, None]
        unit_RKM = self._log_probs_RCM[row_R, classes_RK.clamp(min=0)]
        sums_RKM = pad(unit_RKM.cumsum(-1), (1, 0))
        again_RK1 = (classes_RK == prefixes.last)[..., None]  # a unit that occurs twice in a row needs a blank between
        before_RKM = torch.where(again_RK1, NEG_INF, prefixes.non_blank_M).logaddexp(prefixes.blank_M)
        non_blank_RKM = _recur(before_RKM, sums_RKM)
        blank_RKM = _recur(non_blank_RKM, self._blanks_RM[:, None].expand_as(sums_RKM))
        within_R1M = (torch.arange(unit_RKM.shape[-1], device=row_R.device) < self._lens_R[:, None])[:, None]
        first_RKM = torch.where(within_R1M, before_RKM[..., :-1] + unit_RKM, NEG_INF)
        longer = Prefixes(non_blank_RKM, blank_RKM, classes_RK, first_RKM.logsumexp(-1))
        kept_RK = classes_RK < 0
        return Prefixes(
            *(torch.where(_like(kept_RK, new), old, new) for old, new in zip(prefixes, longer, strict=True))
        )

    def complete(self, prefixes: Prefixes) -> Tensor:
        """Return the log-probability (R) of each row's beginning as the whole transcript."""
        end_R1 = self._lens_R[:, None]
        return prefixes.non_blank_M.gather(1, end_R1).logaddexp(prefixes.blank_M.gather(1, end_R1))[:, 0]


class JointSearch(LogitsProcessor):
    """Combine the scores of the LLM and of CTC for the LLM's most probable tokens, and exclude all other tokens.

    The score of a token is (1 - w) times its log-probability by the LLM plus w times the change of the log-probability
    of the transcript's beginning by CTC; w is ``options.ctc_weight``.

    Args:
        posteriors: of the CTC head, for each utterance.
        options: of the search.
        eos: the end-of-sequence token.
    """

    def __init__(self, posteriors: Posteriors, options: GenerationOptions, eos: int) -> None:
        self._beams, self._weight, self._number = options.num_beams, options.ctc_weight, options.ctc_candidates
        self._subwords = posteriors.subwords
        self._eos = eos
        self._scorer = CTCPrefixScorer(
            posteriors.log_probs_BMC.repeat_interleave(self._beams, 0),
            posteriors.stacked_lens_B.repeat_interleave(self._beams, 0),
        )
        self._prefixes_R = self._scorer.begin()
        self._ids_RU: Tensor | None = None
        self._candidates_RK, self._extended_RK = torch.empty(0), self._prefixes_R

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores (R, V) of the next token after ``input_ids`` (R, U)."""
        self._follow(input_ids)
        log_probs_RV = scores.float().log_softmax(-1)
        self._candidates_RK = log_probs_RV.topk(min(self._number, log_probs_RV.shape[1])).indices
        classes_RKP = self._classes(self._candidates_RK, first=input_ids.shape[1] == 0)
        prefixes = Prefixes(*(each[:, None] for each in self._prefixes_R))
        for classes_RK in classes_RKP.unbind(-1):
            prefixes = self._scorer.extend(prefixes, classes_RK)
        self._extended_RK, self._ids_RU = prefixes, input_ids
        untokenisable_RK = classes_RKP[..., 0] < 0
        changes_RK = _change(self._prefixes_R.total[:, None], prefixes.total).masked_fill(untokenisable_RK, NEG_INF)
        joint_RV = torch.full_like(log_probs_RV, NEG_INF)
        joint_RV.scatter_(1, self._candidates_RK, self._join(log_probs_RV.gather(1, self._candidates_RK), changes_RK))
        ends_R = _change(self._prefixes_R.total, self._scorer.complete(self._prefixes_R))
        joint_RV[:, self._eos] = self._join(log_probs_RV[:, self._eos], ends_R)
        return joint_RV

    def _join(self, llm: Tensor, ctc: Tensor) -> Tensor:
        """Return the scores, finite even where impossible, so that a search can end at ``max_new_tokens``."""
        both = llm.clamp(min=IMPOSSIBLE), ctc.clamp(min=IMPOSSIBLE).to(llm.dtype)
        return (1 - self._weight) * both[0] + self._weight * both[1]

    def _follow(self, input_ids: Tensor) -> None:
        """Select the beginnings that the search kept from those of the last step."""
        if self._ids_RU is None:
            return
        number = len(input_ids)
        row_R = torch.arange(number, device=input_ids.device)
        same_RR = (self._ids_RU[None] == input_ids[:, None, :-1]).all(-1)
        same_RR &= row_R[:, None] // self._beams == row_R // self._beams
        chosen_RRK = self._candidates_RK[None] == input_ids[:, None, -1:]
        found_RX = (same_RR[..., None] & chosen_RRK).reshape(number, -1)
        number_of_candidates = self._candidates_RK.shape[1]
        # What has ended may be found nowhere, and no longer matters, but is to stay in its own row.
        place_R = torch.where(found_RX.any(1), found_RX.int().argmax(1), row_R * number_of_candidates)
        parent_R, candidate_R = place_R // number_of_candidates, place_R % number_of_candidates
        self._prefixes_R = self._extended_RK.take(parent_R, candidate_R)

    def _classes(self, ids_RK: Tensor, first: bool) -> Tensor:
        """Return the classes (R, K, P) of the units of each token, -1 beyond the last unit."""
        units = [
            [] if one == self._eos else [place + 1 for place in self._subwords.units(one, first=first)]
            for one in ids_RK.flatten().tolist()
        ]
        longest = max(1, *map(len, units))
        padded = [one + [-1] * (longest - len(one)) for one in units]
        return torch.tensor(padded, device=ids_RK.device).reshape(*ids_RK.shape, longest)


def _recur(before_M: Tensor, sums_M: Tensor) -> Tensor:
    """Return x where x[m] = log(exp x[m-1] + exp before[m-1]) + p[m], from cumulative sums of p; x[0] is -inf."""
    entered_M = (before_M - sums_M)[..., :-1].logcumsumexp(-1)
    return pad(entered_M, (1, 0), value=NEG_INF) + sums_M


def _change(before: Tensor, after: Tensor) -> Tensor:
    """Return the difference of log-probabilities, -inf where ``after`` is."""
    return torch.where(after.isneginf(), NEG_INF, after - before)


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask[..., None] if other.dim() > mask.dim() else mask

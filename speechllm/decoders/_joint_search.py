"""Joint decoding: the score of each token combines the LLM and the connector's CTC head.

Hori, Watanabe and Hershey (2017), "Joint CTC/attention decoding for end-to-end speech recognition". CTC scores of loops
and early ends are low; the LLM corrects errors of CTC by context. The most probable tokens of both are scored. Sums
over all alignments are computed as cumulative sums in double precision, without a loop over time.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from speechllm.interfaces import GenerationOptions, Posteriors
from speechllm.lengths import Groups, length_mask

NEG_INF = float("-inf")
IMPOSSIBLE = -1e4  # replaces -inf in sums of scores
UNDERFLOW = -700.0
"""Logarithm of about the smallest normal number in double precision."""
PROPOSED = 10
"""Number of units that CTC proposes for each next token."""
NAMED = 500
"""Number of units of an utterance that CTC can propose: those with the highest posteriors in any state."""


class Prefixes(NamedTuple):
    """CTC log-probabilities of prefixes of transcripts (...)."""

    non_blank_M: Tensor
    """Log-probability that the prefix ends at each stacked state in its last unit; (..., M + 1), column 0: no state."""
    blank_M: Tensor
    """Log-probability that the prefix ends at each stacked state in a blank; (..., M + 1)."""
    last: Tensor
    """Class of the last unit; -1 for an empty prefix."""
    total: Tensor
    """Log-probability of all transcripts with this prefix."""

    def take(self, *places: Tensor) -> "Prefixes":
        """Return the prefixes at ``places``, indices of the first dimensions."""
        return Prefixes(*(each[places] for each in self))


class CTCPrefixScorer:
    """CTC probabilities of prefixes of transcripts (Watanabe et al., 2017, algorithm 2).

    Args:
        log_probs_BMC: log-probabilities of the blank (class 0) and units.
        lens_B: numbers of valid states.
    """

    def __init__(self, log_probs_BMC: Tensor, lens_B: Tensor) -> None:
        self._log_probs_BCM = log_probs_BMC.transpose(1, 2)
        self._lens_B = lens_B
        self._blanks_BM = pad(log_probs_BMC[..., 0].double().cumsum(-1), (1, 0))
        self._named_BP, self._probs_BPM = self._named()

    def begin(self) -> Prefixes:
        """Return the empty prefix of each utterance (B)."""
        none_B = torch.zeros_like(self._blanks_BM[:, 0])
        non_blank_BM = torch.full_like(self._blanks_BM, NEG_INF)
        return Prefixes(non_blank_BM, self._blanks_BM.clone(), none_B.long() - 1, none_B.clone())

    def extend(self, prefixes: Prefixes, classes_R: Tensor, utts_R: Tensor) -> Prefixes:
        """Return each prefix (R) extended by a unit; class -1 leaves it unchanged.

        Args:
            prefixes: prefixes.
            classes_R: classes of the units.
            utts_R: index of the utterance of each prefix.
        """
        unit_RM = self._log_probs_BCM[utts_R, classes_R.clamp(min=0)].double()
        again_R1 = (classes_R == prefixes.last)[:, None]  # between two equal units, CTC needs a blank
        before_RM = torch.where(again_R1, NEG_INF, prefixes.non_blank_M).logaddexp(prefixes.blank_M)
        non_blank_RM = _recur(before_RM, pad(unit_RM.cumsum(-1), (1, 0)))
        blank_RM = _recur(non_blank_RM, self._blanks_BM[utts_R])
        first_RM = torch.where(self._within(utts_R), before_RM[:, :-1] + unit_RM, NEG_INF)
        longer = Prefixes(non_blank_RM, blank_RM, classes_R, first_RM.logsumexp(-1))
        kept_R = classes_R < 0
        return Prefixes(*(torch.where(_like(kept_R, new), old, new) for old, new in zip(prefixes, longer, strict=True)))

    def score(self, prefixes: Prefixes, classes_RK: Tensor, utts_R: Tensor) -> Tensor:
        """Return ``total`` (R, K) of each prefix extended by each of K units, without computing the longer prefixes."""
        probs_RKM = self._log_probs_BCM[utts_R[:, None], classes_RK.clamp(min=0)].double().exp()
        outside_RM = ~self._within(utts_R)

        def total(before_RM: Tensor) -> Tensor:
            highest_R1, shares_RM = _shares(before_RM[:, :-1].masked_fill(outside_RM, NEG_INF))
            return highest_R1 + (probs_RKM @ shares_RM[..., None])[..., 0].log()

        again_RK = classes_RK == prefixes.last[:, None]
        total_RK = total(prefixes.non_blank_M.logaddexp(prefixes.blank_M))
        return torch.where(again_RK, total(prefixes.blank_M), total_RK)

    def propose(self, prefixes: Prefixes, utts_R: Tensor) -> Tensor:
        """Return the classes (R, K) of the K most probable units after each prefix.

        The probability of the last unit again, which needs a blank before it, is too high. ``utts_R`` is ascending.
        """
        _, shares_RM = _shares(prefixes.non_blank_M.logaddexp(prefixes.blank_M)[:, :-1])
        used_G, groups_R = utts_R.unique_consecutive(return_inverse=True)
        groups = Groups(groups_R, len(used_G))
        shares_GQM = groups.pad(shares_RM).to(self._probs_BPM.dtype)
        probs_GPM = self._probs_BPM if len(used_G) == len(self._probs_BPM) else self._probs_BPM[used_G]
        probs_RP = (shares_GQM @ probs_GPM.mT)[groups.index]
        places_RK = probs_RP.topk(min(PROPOSED, probs_RP.shape[1])).indices
        return self._named_BP[utts_R[:, None], places_RK]

    def _within(self, utts_R: Tensor) -> Tensor:
        """Return the mask (R, M) of valid states."""
        return length_mask(self._lens_B[utts_R], self._log_probs_BCM.shape[-1])

    def _named(self) -> tuple[Tensor, Tensor]:
        """Return the classes (B, P) of the units with the highest posteriors, and their posteriors (B, P, M)."""
        units_BCM = self._log_probs_BCM[:, 1:]
        if not units_BCM.shape[-1]:
            return self._lens_B.new_zeros(len(units_BCM), 0), units_BCM[:, :0]
        outside_B1M = ~length_mask(self._lens_B, units_BCM.shape[-1])[:, None]
        highest_BC = units_BCM.masked_fill(outside_B1M, NEG_INF).amax(-1)
        places_BP = highest_BC.topk(min(NAMED, highest_BC.shape[1])).indices
        log_probs_BPM = units_BCM.take_along_dim(places_BP[..., None], 1)
        return 1 + places_BP, log_probs_BPM.masked_fill(outside_B1M, NEG_INF).exp()

    def complete(self, prefixes: Prefixes, utts_R: Tensor) -> Tensor:
        """Return the log-probability (R) of the prefix of each row as a complete transcript."""
        end_R1 = self._lens_B[utts_R, None]
        return prefixes.non_blank_M.gather(1, end_R1).logaddexp(prefixes.blank_M.gather(1, end_R1))[:, 0]


class Candidates(NamedTuple):
    """Next tokens that are scored: K tokens for each of N rows, with P units each."""

    prefixes_N: Prefixes
    utts_N: Tensor
    ids_NK: Tensor
    classes_NKP: Tensor
    """Classes of the units of each token, -1 after the last unit."""


class JointScores:
    """Combine the scores of the LLM and of CTC for the most probable tokens of both, and exclude all other tokens.

    The score of a token is (1 - w) times its log-probability by the LLM plus w times the change of the CTC
    log-probability of the transcript's prefix; w is ``options.ctc_weight``. At the start, there is one row per
    utterance.

    Args:
        posteriors: posteriors of the CTC head for each utterance.
        options: options of the search.
        eos: end-of-sequence token.
    """

    def __init__(self, posteriors: Posteriors, options: GenerationOptions, eos: int) -> None:
        self._weight, self._number = options.ctc_weight, options.ctc_candidates
        self._subwords = posteriors.subwords
        self._eos = eos
        self._scorer = CTCPrefixScorer(posteriors.log_probs_BMC, posteriors.stacked_lens_B)
        self._prefixes_R = self._scorer.begin()
        self._utts_R = torch.arange(len(posteriors.stacked_lens_B), device=posteriors.stacked_lens_B.device)
        self._is_first = True
        self._candidates: Candidates

    def __call__(self, scores_NV: Tensor, rows_N: Tensor) -> Tensor:
        """Return the scores (N, V) of the next token of the rows ``rows_N``; the first call needs all rows."""
        prefixes_N, utts_N = self._prefixes_R.take(rows_N), self._utts_R[rows_N]
        log_probs_NV = scores_NV.float().log_softmax(-1)
        probable_NK = log_probs_NV.topk(min(self._number, log_probs_NV.shape[1])).indices
        proposed_NK = self._tokens(self._scorer.propose(prefixes_N, utts_N), first=self._is_first)
        ids_NK = torch.cat([probable_NK, proposed_NK], 1)
        classes_NKP = self._classes(ids_NK, first=self._is_first)
        self._candidates = Candidates(prefixes_N, utts_N, ids_NK, classes_NKP)
        totals_NK = self._totals(self._candidates)
        untokenisable_NK = classes_NKP[..., 0] < 0
        changes_NK = _change(prefixes_N.total[:, None], totals_NK).masked_fill(untokenisable_NK, NEG_INF)
        joint_NV = torch.full_like(log_probs_NV, NEG_INF)
        joint_NV.scatter_(1, ids_NK, self._join(log_probs_NV.gather(1, ids_NK), changes_NK))
        ends_N = _change(prefixes_N.total, self._scorer.complete(prefixes_N, utts_N))
        joint_NV[:, self._eos] = self._join(log_probs_NV[:, self._eos], ends_N)
        return joint_NV

    def _totals(self, candidates: Candidates) -> Tensor:
        """Return the CTC log-probability (N, K) of each prefix extended by each candidate."""
        prefixes_N, utts_N, _, classes_NKP = candidates
        totals_NK = self._scorer.score(prefixes_N, classes_NKP[..., 0], utts_N)
        rows_Q, places_Q = (classes_NKP[..., 1:] >= 0).any(-1).nonzero(as_tuple=True)  # tokens of several units
        if len(rows_Q):
            totals_NK[rows_Q, places_Q] = self._extend(candidates, rows_Q, places_Q).total
        return totals_NK

    def _extend(self, candidates: Candidates, rows_Q: Tensor, places_Q: Tensor) -> Prefixes:
        """Return the prefixes of some rows, each extended by the units of one of its candidates."""
        prefixes_Q, utts_Q = candidates.prefixes_N.take(rows_Q), candidates.utts_N[rows_Q]
        for classes_Q in candidates.classes_NKP[rows_Q, places_Q].unbind(-1):
            prefixes_Q = self._scorer.extend(prefixes_Q, classes_Q, utts_Q)
        return prefixes_Q

    def _follow(self, rows_Q: Tensor, tokens_Q: Tensor) -> Prefixes:
        """Return the prefixes of some rows of the last call, each extended by a token.

        The end of sequence need not be a candidate, because a row that has ended is not scored again.
        """
        places_Q = (self._candidates.ids_NK[rows_Q] == tokens_Q[:, None]).int().argmax(1)
        return self._extend(self._candidates, rows_Q, places_Q)

    def keep(self, rows_N: Tensor, tokens_N: Tensor) -> None:
        """Append the chosen tokens to the rows ``rows_N`` of the last call."""
        chosen = self._follow(torch.arange(len(rows_N), device=rows_N.device), tokens_N)
        for all_R, chosen_N in zip(self._prefixes_R, chosen, strict=True):
            all_R[rows_N] = chosen_N
        self._is_first = False

    def follow(self, parents_R: Tensor, tokens_R: Tensor) -> None:
        """Replace all rows by the rows ``parents_R`` of the last call, each with its token appended."""
        self._prefixes_R = self._follow(parents_R, tokens_R)
        self._utts_R = self._utts_R[parents_R]
        self._is_first = False

    def take(self, rows_R: Tensor) -> None:
        """Replace the rows by any number of rows with the indices ``rows_R``."""
        self._prefixes_R, self._utts_R = self._prefixes_R.take(rows_R), self._utts_R[rows_R]

    def _join(self, llm: Tensor, ctc: Tensor) -> Tensor:
        """Return the combined scores; they are finite, so that a search can end at ``max_new_tokens``."""
        both = llm.clamp(min=IMPOSSIBLE), ctc.clamp(min=IMPOSSIBLE).to(llm.dtype)
        return (1 - self._weight) * both[0] + self._weight * both[1]

    def _tokens(self, classes_RK: Tensor, first: bool) -> Tensor:
        """Return the tokens (R, K) with one unit each."""
        tokens = [self._subwords.token(one - 1, first=first) for one in classes_RK.flatten().tolist()]
        return classes_RK.new_tensor(tokens).reshape(classes_RK.shape)

    def _classes(self, ids_RK: Tensor, first: bool) -> Tensor:
        """Return the classes (R, K, P) of the units of each token, -1 after the last unit."""
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


def _shares(log_probs_RM: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest log-probability (R, 1), and the probabilities (R, M) relative to it."""
    highest_R1 = pad(log_probs_RM, (0, 1), value=IMPOSSIBLE).amax(-1, keepdim=True)
    differences_RM = log_probs_RM - highest_R1
    # exponentials that underflow take 50 times as long on a CPU
    shares_RM = differences_RM.clamp(min=UNDERFLOW).exp()
    return highest_R1, shares_RM.masked_fill(differences_RM < UNDERFLOW, 0.0)


def _change(before: Tensor, after: Tensor) -> Tensor:
    """Return the difference of log-probabilities; -inf where ``after`` is -inf."""
    return torch.where(after.isneginf(), NEG_INF, after - before)


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask[..., None] if other.dim() > mask.dim() else mask

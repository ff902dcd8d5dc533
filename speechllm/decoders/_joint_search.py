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
from speechllm.lengths import length_mask

NEG_INF = float("-inf")
IMPOSSIBLE = -1e4  # replaces -inf in sums of scores
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

    def extend(self, prefixes: Prefixes, classes_RK: Tensor, utts_R: Tensor) -> Prefixes:
        """Return R x K prefixes, each extended by one of K units; class -1 leaves a prefix unchanged.

        Args:
            prefixes: prefixes of R rows.
            classes_RK: classes of the units.
            utts_R: index of the utterance of each row.
        """
        unit_RKM = self._log_probs_BCM[utts_R[:, None], classes_RK.clamp(min=0)].double()
        sums_RKM = pad(unit_RKM.cumsum(-1), (1, 0))
        again_RK1 = (classes_RK == prefixes.last)[..., None]  # between two equal units, CTC needs a blank
        before_RKM = torch.where(again_RK1, NEG_INF, prefixes.non_blank_M).logaddexp(prefixes.blank_M)
        non_blank_RKM = _recur(before_RKM, sums_RKM)
        blank_RKM = _recur(non_blank_RKM, self._blanks_BM[utts_R, None].expand_as(sums_RKM))
        within_R1M = length_mask(self._lens_B[utts_R], unit_RKM.shape[-1])[:, None]
        first_RKM = torch.where(within_R1M, before_RKM[..., :-1] + unit_RKM, NEG_INF)
        longer = Prefixes(non_blank_RKM, blank_RKM, classes_RK, first_RKM.logsumexp(-1))
        kept_RK = classes_RK < 0
        return Prefixes(
            *(torch.where(_like(kept_RK, new), old, new) for old, new in zip(prefixes, longer, strict=True))
        )

    def propose(self, prefixes: Prefixes, utts_R: Tensor) -> Tensor:
        """Return the classes (R, K) of the K most probable units after each prefix.

        The probability of the last unit again, which needs a blank before it, is too high.
        """
        before_RM = prefixes.non_blank_M.logaddexp(prefixes.blank_M)[:, :-1]
        highest_R1 = before_RM.amax(-1, keepdim=True).clamp(min=IMPOSSIBLE)
        shares_RM1 = (before_RM - highest_R1).exp().to(self._probs_BPM.dtype)[..., None]
        places_RK = (self._probs_BPM[utts_R] @ shares_RM1)[..., 0].topk(min(PROPOSED, self._named_BP.shape[1])).indices
        return self._named_BP[utts_R[:, None], places_RK]

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
        self._candidates_NK, self._extended_NK = torch.empty(0), self._prefixes_R

    def __call__(self, scores_NV: Tensor, rows_N: Tensor) -> Tensor:
        """Return the scores (N, V) of the next token of the rows ``rows_N``; the first call needs all rows."""
        prefixes_N, utts_N = self._prefixes_R.take(rows_N), self._utts_R[rows_N]
        log_probs_NV = scores_NV.float().log_softmax(-1)
        probable_NK = log_probs_NV.topk(min(self._number, log_probs_NV.shape[1])).indices
        proposed_NK = self._tokens(self._scorer.propose(prefixes_N, utts_N), first=self._is_first)
        self._candidates_NK = torch.cat([probable_NK, proposed_NK], 1)
        classes_NKP = self._classes(self._candidates_NK, first=self._is_first)
        self._extended_NK = Prefixes(*(each[:, None] for each in prefixes_N))
        for classes_NK in classes_NKP.unbind(-1):
            self._extended_NK = self._scorer.extend(self._extended_NK, classes_NK, utts_N)
        untokenisable_NK = classes_NKP[..., 0] < 0
        changes_NK = _change(prefixes_N.total[:, None], self._extended_NK.total).masked_fill(untokenisable_NK, NEG_INF)
        joint_NV = torch.full_like(log_probs_NV, NEG_INF)
        joint_NV.scatter_(1, self._candidates_NK, self._join(log_probs_NV.gather(1, self._candidates_NK), changes_NK))
        ends_N = _change(prefixes_N.total, self._scorer.complete(prefixes_N, utts_N))
        joint_NV[:, self._eos] = self._join(log_probs_NV[:, self._eos], ends_N)
        return joint_NV

    def keep(self, rows_N: Tensor, tokens_N: Tensor) -> None:
        """Append the chosen tokens to the rows ``rows_N`` of the last call."""
        # the end of sequence need not be a candidate, because a row that has ended is not scored again
        place_N = (self._candidates_NK == tokens_N[:, None]).int().argmax(1)
        chosen = self._extended_NK.take(torch.arange(len(place_N), device=place_N.device), place_N)
        for all_R, chosen_N in zip(self._prefixes_R, chosen, strict=True):
            all_R[rows_N] = chosen_N
        self._is_first = False

    def follow(self, parents_R: Tensor, tokens_R: Tensor) -> None:
        """Replace all rows by the rows ``parents_R`` of the last call, each with its token appended."""
        place_R = (self._candidates_NK[parents_R] == tokens_R[:, None]).int().argmax(1)
        self._prefixes_R = self._extended_NK.take(parents_R, place_R)
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


def _change(before: Tensor, after: Tensor) -> Tensor:
    """Return the difference of log-probabilities; -inf where ``after`` is -inf."""
    return torch.where(after.isneginf(), NEG_INF, after - before)


def _like(mask: Tensor, other: Tensor) -> Tensor:
    return mask[..., None] if other.dim() > mask.dim() else mask

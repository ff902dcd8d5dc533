"""A connector's CTC head, and one embedding of the LLM for each run of states with the same subword unit.

A softmax computes posteriors of stacked states over a blank and subword units of the LLM's vocabulary (CTC: Graves et
al., 2006). States with a high posterior of the blank are dropped, and neighbouring states with the same best label
become one speech token (compression as in Gaido et al., 2021, arXiv 2102.01578): the expectation of the LLM's
embeddings under the posteriors, plus an acoustic residual. The number of speech tokens is close to that of text tokens,
and they have the scale of the LLM's embeddings.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d, pad
from torch.nn.utils.rnn import pad_sequence

from speechllm.connectors._base import BaseConnector
from speechllm.ctc import ctc_objective
from speechllm.errors import ConfigError
from speechllm.interfaces import ConnectorOutput, Decoder, Posteriors
from speechllm.lengths import ceil_div, length_mask
from speechllm.ranges import at_least, probability

EXPECTED_UNITS = 800
"""Largest number of units in the expectation of an embedding; of more units, the most probable ones."""
MOST_PROBABLE = 16
"""Number of most probable units in the expectation of an embedding, if there are more than ``EXPECTED_UNITS``."""
MASK_STATES = 4
"""Number of consecutive stacked states masked together in training."""


@dataclass(frozen=True, kw_only=True)
class CTCOptions:
    """Stacked states, subword units and speech tokens of a connector with a CTC head."""

    RENAMED: ClassVar = {"merge": "stack", "merges": "bpe_merges"}

    stack: int = 4
    """Number of consecutive encoder states stacked into one."""
    bpe_merges: int = 500
    """Number of the tokenizer's first BPE merges that define the subword units."""
    lower_case: bool = False
    """Whether subword units have no capitals, and the CTC loss ignores case."""
    blank_threshold: float = 0.95
    """Least posterior of the blank (0 to 1) for dropping a state."""
    ctc_weight: float = 0.3
    """Weight of the CTC loss, relative to the LLM's loss."""
    mask: float = 0.1
    """Share (0 to 1) of stacked states masked in training, in spans."""
    dropout: float = 0.1
    """Dropout probability."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        if self.stack < 1 or self.bpe_merges < 0:
            raise ConfigError(
                f"stack and bpe_merges: found {self.stack} and {self.bpe_merges}, expected at least 1 and 0"
            )
        if not 0 < self.blank_threshold <= 1:
            raise ConfigError(f"blank_threshold: found {self.blank_threshold}, expected more than 0, and at most 1")
        probability(self, "dropout", "mask")
        at_least(self, 0, "ctc_weight")


class SubwordCTC(BaseConnector):
    """Base class of connectors with a CTC head; see the module's docstring.

    A subclass defines ``head``, a module from hidden states to logits, and ``hidden_states``, unless it replaces
    ``forward``, ``ctc_loss`` and ``with_ctc_loss``.

    Args:
        input_dim: dimension D of the states.
        hidden: dimension H of the hidden states.
        output_dim: embedding dimension E of the LLM.
        options: sizes.
    """

    head: nn.Module

    def __init__(self, input_dim: int, hidden: int, output_dim: int, options: CTCOptions) -> None:
        super().__init__()
        self.stack, self.ctc_weight, self.options = options.stack, options.ctc_weight, options
        self.norm = nn.LayerNorm(input_dim)
        self.input = nn.Linear(options.stack * input_dim, hidden)
        self.residual = nn.Linear(hidden, output_dim)
        nn.init.zeros_(self.residual.weight)

    def bind(self, decoder: Decoder) -> None:
        """Store the LLM's subword units and embeddings."""
        self.subwords = self._units = decoder.subword_units(self.options.bpe_merges, self.options.lower_case)
        self._embed = decoder.embed

    def output_lengths(self, state_lens_B: Tensor) -> Tensor:
        """Return the number of stacked states, usually more than the speech tokens."""
        return ceil_div(state_lens_B, self.stack)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE, their number for each utterance, and the posteriors of the stacked states."""
        hidden_BMH, posteriors = self._posteriors(states_BLD, state_lens_B)
        return ConnectorOutput(*self.embed(hidden_BMH, posteriors), posteriors)

    def ctc_loss(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]) -> Tensor:
        """Return the summed CTC loss of transcripts (nats)."""
        _, posteriors = self._posteriors(states_BLD, state_lens_B)
        return ctc_objective(posteriors, texts)

    def with_ctc_loss(
        self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]
    ) -> tuple[ConnectorOutput, Tensor]:
        """Return the speech tokens and the summed CTC loss of transcripts (nats)."""
        output = self(states_BLD, state_lens_B)
        return output, ctc_objective(output.posteriors, texts)

    def _posteriors(self, states_BLD: Tensor, state_lens_B: Tensor) -> tuple[Tensor, Posteriors]:
        """Return the hidden states (B, M, H) and posteriors of the stacked states."""
        hidden_BMH = self.hidden_states(states_BLD, state_lens_B)
        log_probs_BMC = self.head(hidden_BMH).float().log_softmax(-1)
        return hidden_BMH, Posteriors(log_probs_BMC, self.output_lengths(state_lens_B), self._units, self.stack)

    def hidden_states(self, states_BLD: Tensor, state_lens_B: Tensor) -> Tensor:
        """Return the hidden states (B, M, H) of the stacked states."""
        raise NotImplementedError

    def embed(self, hidden_BMH: Tensor, posteriors: Posteriors) -> tuple[Tensor, Tensor]:
        """Return one embedding for each run of states with the same best label, embeds_BSE, and their number."""
        log_probs_BMC = posteriors.log_probs_BMC
        best_BM = log_probs_BMC.argmax(-1)
        valid_BM = length_mask(posteriors.stacked_lens_B, best_BM.shape[1])
        kept_BM = valid_BM & (log_probs_BMC[..., 0].exp() < self.options.blank_threshold)
        continues_BM = kept_BM[:, 1:] & kept_BM[:, :-1] & (best_BM[:, 1:] == best_BM[:, :-1])
        starts_BM = kept_BM & ~pad(continues_BM, (1, 0))
        run_K = starts_BM[kept_BM].cumsum(0) - 1  # K: kept states of all utterances
        states_KE = self._expected(log_probs_BMC[kept_BM][:, 1:]) + self.residual(hidden_BMH[kept_BM])
        # The CPU waits for the posteriors here and at boolean indices: the number of speech tokens depends on them
        speech_lens_B = starts_BM.sum(1)
        sums_RE = states_KE.new_zeros(int(speech_lens_B.sum()), states_KE.shape[1]).index_add(0, run_K, states_KE)
        means_RE = sums_RE / run_K.bincount(minlength=len(sums_RE))[:, None]
        return pad_sequence(list(means_RE.split(speech_lens_B.tolist())), batch_first=True), speech_lens_B

    def _expected(self, log_probs_KC: Tensor) -> Tensor:
        """Return the expectations (K, E) of the units' embeddings."""
        ids_C = torch.tensor(self._units.ids, device=log_probs_KC.device)
        if len(ids_C) <= EXPECTED_UNITS:
            matrix_CE = self._embed(ids_C)
            return log_probs_KC.exp().to(matrix_CE.dtype) @ matrix_CE
        top, places = log_probs_KC.topk(MOST_PROBABLE)
        embeds = self._embed(ids_C[places])
        return (top.exp().to(embeds.dtype)[:, None] @ embeds)[:, 0]

    def stacked(self, states_BLD: Tensor, state_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised stacked states (B, M, stack * D), and which are neither padded nor masked."""
        batch, length, dim = states_BLD.shape
        states_BLD = self.norm(states_BLD) * length_mask(state_lens_B, length)[..., None]
        stacked_BMD = pad(states_BLD, (0, 0, 0, -length % self.stack)).reshape(batch, -1, self.stack * dim)
        valid_BM = length_mask(self.output_lengths(state_lens_B), stacked_BMD.shape[1])
        return stacked_BMD, valid_BM & ~self._masked(valid_BM)

    def _masked(self, valid_BM: Tensor) -> Tensor:
        """Return a mask (B, M) of spans of stacked states (SpecAugment, arXiv 1904.08779); false outside training."""
        if not self.training or self.options.mask == 0:
            return torch.zeros_like(valid_BM)
        begins_BM = torch.rand(valid_BM.shape, device=valid_BM.device) < self.options.mask / MASK_STATES
        padded_BM = pad(begins_BM.float(), (MASK_STATES - 1, 0))
        return max_pool1d(padded_BM, MASK_STATES, stride=1).bool()

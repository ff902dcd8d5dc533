"""A connector that learns by CTC what is said, and gives the LLM one embedding for each token that it heard.

Merged states go through Transformer layers and a softmax over a blank and pieces of the LLM's own vocabulary (CTC:
Graves et al., 2006). Where a blank is all but certain nothing is passed on, and neighbours that say the same become one
(as Gaido et al., 2021, arXiv 2102.01578, shrink speech). What is left reaches the LLM as the expectation of its own
embeddings, plus a little that says how it sounded: text that may be misheard, to be read and mended. The LLM reads no
more tokens than were said, at the scale that it knows, and has little to learn. It is not in the paper.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, gelu, pad
from torch.nn.utils.rnn import pad_sequence

from speechllm.errors import ConfigError
from speechllm.interfaces import Decoder, Spelt
from speechllm.ranges import at_least, probability

MASK_STATES = 4
"""Merged states that are masked together in training."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many states are merged, how deep and wide the layers are, and which tokens of the LLM they spell with."""

    merge: int = 4
    """Number of consecutive encoder states merged into one."""
    hidden: int = 384
    """Width of the Transformer layers, a multiple of 64 (one attention head each)."""
    num_layers: int = 4
    """Number of Transformer layers."""
    dropout: float = 0.1
    """Dropout probability."""
    merges: int = 500
    """Number of the tokenizer's merges, the first ones, that spelling knows: rarer words are spelt in more pieces."""
    blank_threshold: float = 0.95
    """What is a blank with at least this probability is not passed on."""
    ctc_weight: float = 0.3
    """Weight of CTC's loss beside the LLM's, once the LLM is in the loop."""
    mask: float = 0.1
    """Share of the merged states that are masked in training, in spans (SpecAugment, arXiv 1904.08779)."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        if self.merge < 1 or self.num_layers < 1 or self.merges < 0:
            raise ConfigError(
                f"merge, num_layers and merges: found {self.merge}, {self.num_layers} and {self.merges}, expected at "
                "least 1, 1 and 0"
            )
        if self.hidden < 64 or self.hidden % 64:
            raise ConfigError(f"hidden: found {self.hidden}, expected a multiple of 64")
        if not 0 < self.blank_threshold <= 1:
            raise ConfigError(f"blank_threshold: found {self.blank_threshold}, expected more than 0, and at most 1")
        probability(self, "dropout", "mask")
        at_least(self, 0, "ctc_weight")

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "CTCConnector":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return CTCConnector(input_dim, output_dim, segment_states, self)


class Heard(NamedTuple):
    """What was heard in each merged state (M of them; C: blank, and pieces of text)."""

    hidden_BMH: Tensor
    log_probs_BMC: Tensor
    lens_B: Tensor


class CTCConnector(nn.Module):
    """Speech to as many embeddings of the LLM as tokens were heard; see the module's docstring.

    Args:
        input_dim: dimension D of the states.
        output_dim: embedding dimension E of the LLM.
        segment_states: states of the encoder's segments, beyond which no Transformer layer looks.
        config: sizes.
    """

    def __init__(self, input_dim: int, output_dim: int, segment_states: int, config: Config) -> None:
        super().__init__()
        self.merge, self.ctc_weight, self.config = config.merge, config.ctc_weight, config
        self.segment = max(1, segment_states // config.merge)
        self.norm = nn.LayerNorm(input_dim)
        self.input = nn.Linear(config.merge * input_dim, config.hidden)
        self.neighbours = nn.Conv1d(config.hidden, config.hidden, 7, padding=3, groups=config.hidden)
        layer = nn.TransformerEncoderLayer(
            config.hidden,
            config.hidden // 64,
            4 * config.hidden,
            config.dropout,
            "gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, config.num_layers, nn.LayerNorm(config.hidden), enable_nested_tensor=False
        )
        self.sound = nn.Linear(config.hidden, output_dim)
        nn.init.zeros_(self.sound.weight)

    def read_decoder(self, decoder: Decoder) -> None:
        """Take the LLM whose tokens are to be spelt with, and make the output layer for them."""
        self.spelling = decoder.spelling(self.config.merges)
        self._embed = decoder.embed
        like = self.sound.weight
        self.head = nn.Linear(self.config.hidden, 1 + len(self.spelling.ids), device=like.device, dtype=like.dtype)

    def output_lengths(self, lens_B: Tensor) -> Tensor:
        """Return the number of speech tokens at most: that of the merged states."""
        return (lens_B + self.merge - 1).div(self.merge, rounding_mode="floor")

    def forward(self, states_BLD: Tensor, lens_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeds_BSE and their lens_B."""
        return self.embed(self.hear(states_BLD, lens_B))

    def hear(self, states_BLD: Tensor, lens_B: Tensor) -> Heard:
        """Return what was heard in each merged state."""
        batch, length, dim = states_BLD.shape
        states_BLD = self.norm(states_BLD) * _valid(lens_B, length)[..., None]
        merged_BMD = pad(states_BLD, (0, 0, 0, -length % self.merge)).reshape(batch, -1, self.merge * dim)
        lens_B = self.output_lengths(lens_B)
        valid_BM = _valid(lens_B, merged_BMD.shape[1])
        hidden_BMH = self.input(merged_BMD) * (valid_BM & ~self._masked(valid_BM))[..., None]
        hidden_BMH = hidden_BMH + gelu(self.neighbours(hidden_BMH.transpose(1, 2)).transpose(1, 2))
        hidden_BMH = self._attend(hidden_BMH, lens_B)
        return Heard(hidden_BMH, self.head(hidden_BMH).float().log_softmax(-1), lens_B)

    def count_units(self, texts: list[str]) -> int:
        """Return the number of subword units in transcripts, at least one for each."""
        return sum(max(1, len(self.spelling(text))) for text in texts)

    def loss(self, heard: Heard, texts: list[str]) -> Tensor:
        """Return the summed CTC loss of the transcripts.

        An utterance too short for its transcript adds nothing.
        """
        device = heard.lens_B.device
        labels = [torch.tensor(self.spelling(text), dtype=torch.long, device=device) + 1 for text in texts]
        lens = torch.tensor([len(one) for one in labels], device=device)
        return ctc_loss(
            heard.log_probs_BMC.transpose(0, 1),
            pad_sequence(labels, batch_first=True),
            heard.lens_B,
            lens,
            reduction="sum",
            zero_infinity=True,
        )

    def spelt(self, heard: Heard) -> Spelt:
        """Return what was heard, for a search that the LLM and CTC do together."""
        return Spelt(heard.log_probs_BMC, heard.lens_B, self.spelling)

    def embed(self, heard: Heard) -> tuple[Tensor, Tensor]:
        """Return one embedding for each run of states that say the same, embeds_BSE, and their lens_B."""
        probs_BMC = heard.log_probs_BMC.exp()
        best_BM = probs_BMC.argmax(-1)
        kept_BM = _valid(heard.lens_B, best_BM.shape[1]) & (probs_BMC[..., 0] < self.config.blank_threshold)
        goes_on_BM = kept_BM[:, 1:] & kept_BM[:, :-1] & (best_BM[:, 1:] == best_BM[:, :-1])
        starts_BM = kept_BM & ~pad(goes_on_BM, (1, 0))
        run_K = starts_BM[kept_BM].cumsum(0) - 1  # K: states that are kept, of all utterances in turn
        table_CE = self._embed(torch.tensor(self.spelling.ids, device=run_K.device))
        states_KE = probs_BMC[kept_BM][:, 1:].to(table_CE.dtype) @ table_CE + self.sound(heard.hidden_BMH[kept_BM])
        lens_B = starts_BM.sum(1)
        sums_RE = states_KE.new_zeros(int(lens_B.sum()), states_KE.shape[1]).index_add(0, run_K, states_KE)
        means_RE = sums_RE / run_K.bincount(minlength=len(sums_RE))[:, None]
        return pad_sequence(list(means_RE.split(lens_B.tolist())), batch_first=True), lens_B

    def _attend(self, hidden_BMH: Tensor, lens_B: Tensor) -> Tensor:
        """Apply the layers to every segment on its own."""
        batch, length, dim = hidden_BMH.shape
        size = min(self.segment, length)
        pieces_PMH = pad(hidden_BMH, (0, 0, 0, -length % size)).reshape(-1, size, dim)
        starts = torch.arange(0, length, size, device=lens_B.device)
        lens_P = (lens_B[:, None] - starts).clamp(1, size).flatten()  # 1: nothing to attend to would be no number
        read_PMH = self.layers(pieces_PMH, src_key_padding_mask=~_valid(lens_P, size))
        return read_PMH.reshape(batch, -1, dim)[:, :length]

    def _masked(self, valid_BM: Tensor) -> Tensor:
        """Return which merged states are not seen, none outside training."""
        if not self.training or self.config.mask == 0:
            return torch.zeros_like(valid_BM)
        begins_BM = torch.rand(valid_BM.shape, device=valid_BM.device) < self.config.mask / MASK_STATES
        padded_BM = pad(begins_BM.float(), (MASK_STATES - 1, 0))
        return nn.functional.max_pool1d(padded_BM, MASK_STATES, stride=1).bool()


def _valid(lens_B: Tensor, length: int) -> Tensor:
    return torch.arange(length, device=lens_B.device) < lens_B[:, None]

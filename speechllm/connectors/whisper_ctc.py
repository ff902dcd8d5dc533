"""Connector with a CTC head that begins with the layers of Whisper's decoder.

Whisper's decoder (Radford et al., 2022, arXiv 2212.04356) writes one token after the other. Here words are computed at
once, and the units of a word one after the other:

1. Every stacked state has a copy of the same query, the last token of the decoder's prompt, and attends to the states
   around it (``_local_attention.py``). Without a text before it, the decoder names the word that is spoken there. CTC
   over the units that begin a word finds the words.
2. Each word is continued as the decoder continues a text: the next position has the embedding of the unit before it,
   and attends to the word's stacked state, to the positions between, and to the states around them. The unit of a next
   word means that the word is complete. A word with several probable first units is continued with each of them.

The logits of the units are products with Whisper's token embeddings. Layers and embeddings are frozen; LoRA adapters,
the attention windows, the query and the blank are trained, with the CTC loss of the first units, and the cross-entropy
of the further units after the states of a forced alignment. Posteriors of the positions that continue a word are
inserted after the state of its first unit: the search has a longer sequence. ``_ctc.py`` describes the speech tokens.
This connector is not in the paper.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, nll_loss, pad, scaled_dot_product_attention

from speechllm.base_models import load_whisper, reading
from speechllm.connectors._ctc import CTCOptions, SubwordCTC
from speechllm.connectors._local_attention import LocalAttention, Windows
from speechllm.connectors._word_head import WordHead
from speechllm.connectors._words import Positions, Words, beginnings, in_order, locate, mixture, run_ends, split_words
from speechllm.ctc import ctc_loss
from speechllm.interfaces import ConnectorOutput, Decoder, Encoder, Posteriors
from speechllm.lengths import length_mask
from speechllm.lora import LoraOptions, merged, with_lora

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

LINEAR = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""Names of the linear layers of Whisper's decoder."""
MAX_FURTHER = 12
"""Largest number of units after the first of a word."""


@dataclass(frozen=True, kw_only=True)
class Config(CTCOptions):
    """Subword units and adapters; the decoder is that of the encoder's Whisper model."""

    bpe_merges: int = 50000
    """Number of the tokenizer's first BPE merges that define the subword units."""
    lower_case: bool = True
    """Whether subword units have no capitals, and the CTC loss ignores case."""
    lora: LoraOptions = field(default_factory=lambda: LoraOptions(rank=32, alpha=64.0, dropout=0.0, modules=LINEAR))
    """Adapters of the decoder's layers."""

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "WhisperCTC":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return WhisperCTC(input_dim, output_dim, self)


class WhisperCTC(SubwordCTC):
    """Layers of Whisper's decoder with local attention, and a CTC head of Whisper's token embeddings.

    Args:
        input_dim: dimension D of the states, and of the decoder.
        output_dim: embedding dimension E of the LLM.
        config: sizes.
    """

    head: WordHead
    positions_KH: Tensor
    """Positional embeddings of the positions that continue a word."""

    def __init__(self, input_dim: int, output_dim: int, config: Config) -> None:
        super().__init__(input_dim, input_dim, output_dim, config)
        self._lora = config.lora
        nn.init.zeros_(self.input.weight)
        nn.init.zeros_(self.input.bias)

    def bind_encoder(self, encoder: Encoder) -> None:
        """Load the decoder of the encoder's Whisper model.

        Raises:
            ConfigError: if the encoder's base model is not Whisper, or lacks the weights of the decoder.
        """
        like = self.residual.weight
        option = "connector.type: whisper_ctc: encoder.path"
        decoder = load_whisper("decoder", encoder.path, like.dtype, option=option).to(like.device).requires_grad_(False)
        self._tokenizer = _tokenizer(encoder.path, option)
        self._embeddings_VH = decoder.embed_tokens.weight
        prompt: list[int] = self._tokenizer.prefix_tokens
        positions_KH = decoder.embed_positions.weight.detach()[len(prompt) - 1 :][: 1 + MAX_FURTHER]
        self.query_H = nn.Parameter(self._embeddings_VH[prompt[-1]] + positions_KH[0])
        self.register_buffer("positions_KH", positions_KH[1:].clone(), persistent=False)
        self.own = self._local(decoder, rate=1, margin=16, centre=0.0, width=2.5)
        self.cross = self._local(decoder, rate=self.stack, margin=8, centre=1.5, width=1.25)
        self.after = self._local(decoder, rate=self.stack, margin=8, centre=1.5, width=2.0)
        self.decoder = with_lora(_Layers(decoder), self._lora, "connector.lora")

    @property
    def base_model(self) -> nn.Module:
        """The layers of Whisper's decoder, with adapters."""
        return self.decoder

    @staticmethod
    def _local(decoder: "WhisperDecoder", **options: Any) -> nn.ModuleList:
        """Return the local attention of each layer."""
        heads = decoder.config.decoder_attention_heads
        return nn.ModuleList(LocalAttention(heads, **options) for _ in decoder.layers)

    def bind(self, decoder: Decoder) -> None:
        """Store the LLM's subword units and embeddings, and build the CTC head for the units."""
        super().bind(decoder)
        embeddings_VH = self._embeddings_VH.detach().to(self.residual.weight)
        tokens = self._tokenizer(self._units.texts, add_special_tokens=False)["input_ids"]
        units_CH = torch.stack([embeddings_VH[ids].mean(0) for ids in tokens])
        self.head = WordHead(self._units.texts, units_CH, embeddings_VH[self._tokenizer.eos_token_id])
        del self._tokenizer, self._embeddings_VH  # 100 MB

    def merge_adapters(self) -> None:
        """Add the adapters to the weights of the decoder's layers."""
        self.decoder = merged(self.decoder)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE, their number for each utterance, and the posteriors of states and continuations."""
        return self._speech_tokens(self._score(states_BLD, state_lens_B))

    def ctc_loss(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]) -> Tensor:
        """Return the summed loss of transcripts (nats): CTC of the first units, cross-entropy of the further units.

        The loss of an utterance with too few states for its words is 0.
        """
        return self._loss(self._score(states_BLD, state_lens_B), texts)

    def with_ctc_loss(
        self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]
    ) -> tuple[ConnectorOutput, Tensor]:
        """Return the speech tokens and ``ctc_loss``."""
        scored = self._score(states_BLD, state_lens_B)
        return self._speech_tokens(scored), self._loss(scored, texts)

    def _score(self, states_BLD: Tensor, state_lens_B: Tensor) -> "_Scored":
        """Compute the positions of the stacked states."""
        stacked_BMD, used_BM = self.stacked(states_BLD, state_lens_B)
        states_BLD = pad(states_BLD, (0, 0, 0, -states_BLD.shape[1] % self.stack))
        used_BL = length_mask(state_lens_B, states_BLD.shape[1]) & used_BM.repeat_interleave(self.stack, 1)
        hidden_BMH = self.query_H + self.input(stacked_BMD * used_BM[..., None])
        lens_B = self.output_lengths(state_lens_B)
        valid_BM = length_mask(lens_B, used_BM.shape[1])
        own_keys, windows = [], []
        own: Any  # ModuleList has no type of its items
        cross: Any
        for layer, own, cross in zip(self.decoder.layers, self.own, self.cross, strict=True):
            normed_BMH = layer.self_attn_layer_norm(hidden_BMH)
            own_keys.append(_project(layer.self_attn, normed_BMH))
            attended_BMH = own(layer.self_attn.q_proj(normed_BMH), own.windows(*own_keys[-1], valid_BM))
            hidden_BMH = hidden_BMH + self._drop(layer.self_attn.out_proj(attended_BMH))
            normed_BMH = layer.encoder_attn_layer_norm(hidden_BMH)
            windows.append(cross.windows(*_project(layer.encoder_attn, states_BLD), used_BL))
            attended_BMH = cross(layer.encoder_attn.q_proj(normed_BMH), windows[-1])
            hidden_BMH = hidden_BMH + self._drop(layer.encoder_attn.out_proj(attended_BMH))
            hidden_BMH = hidden_BMH + self._feed_forward(layer, hidden_BMH)
        hidden_BMH = self.decoder.norm(hidden_BMH)
        log_probs_BMW = self.head(hidden_BMH).float().log_softmax(-1)
        return _Scored(hidden_BMH, log_probs_BMW, lens_B, own_keys, windows)

    def _words(self, scored: "_Scored", utts_R: Tensor, states_R: Tensor) -> Words:
        """Return words that begin at stacked states."""
        past = [(keys[utts_R, states_R][:, None], values[utts_R, states_R][:, None]) for keys, values in scored.own]
        return Words(utts_R, states_R, past)

    def _next(self, scored: "_Scored", words: Words, units_R: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Append a position after a unit to each word.

        Args:
            scored: positions of the stacked states.
            words: words; keys and values of the new position are appended.
            units_R: indices of the units.
            step: number of units before these in each word.

        Returns:
            Hidden states (R, H), and log-probabilities of the word's end (class 0) and of the further units.
        """
        hidden_RH = self.head.embeddings(units_R) + self.positions_KH[step]
        after: Any
        for index, (layer, after) in enumerate(zip(self.decoder.layers, self.after, strict=True)):
            normed_RH = layer.self_attn_layer_norm(hidden_RH)
            past = words.append(index, *_project(layer.self_attn, normed_RH))
            attended_RH = _attend_all(layer.self_attn.q_proj(normed_RH), *past, layer.self_attn.num_heads)
            hidden_RH = hidden_RH + self._drop(layer.self_attn.out_proj(attended_RH))
            queries_RH = layer.encoder_attn.q_proj(layer.encoder_attn_layer_norm(hidden_RH))
            attended_RH = after.at(queries_RH, words.utts_R, words.states_R, scored.windows[index])
            hidden_RH = hidden_RH + self._drop(layer.encoder_attn.out_proj(attended_RH))
            hidden_RH = hidden_RH + self._feed_forward(layer, hidden_RH)
        hidden_RH = self.decoder.norm(hidden_RH)
        return hidden_RH, self.head.further(hidden_RH).float().log_softmax(-1)

    def _loss(self, scored: "_Scored", texts: list[str]) -> Tensor:
        """Return the summed loss of transcripts."""
        head, device = self.head, scored.hidden_BMH.device
        words = [split_words(self._units(text), head.begins) for text in texts]
        labels = [[head.places[units[0]] for units in one] for one in words]
        loss = ctc_loss(scored.log_probs_BMW, scored.lens_B, [torch.tensor(one, dtype=torch.long) for one in labels])
        found = locate(scored.log_probs_BMW, scored.lens_B, labels, words)
        continued = self._words(scored, found.utts_R, found.states_R)
        for step in range(MAX_FURTHER):
            number = found.longer(step)
            if not number:
                break
            continued = continued.select(slice(number))
            units = [one[step] for one in found.units[:number]]
            targets = [head.places[one[step + 1]] if len(one) > step + 1 else 0 for one in found.units[:number]]
            _, log_probs_RF = self._next(scored, continued, torch.tensor(units, device=device), step)
            loss = loss + nll_loss(log_probs_RF, torch.tensor(targets, device=device), reduction="sum")
        return loss

    def _speech_tokens(self, scored: "_Scored") -> ConnectorOutput:
        """Continue the best words with their best further units, and return the speech tokens."""
        head = self.head
        valid_BM = length_mask(scored.lens_B, scored.hidden_BMH.shape[1])
        utts_R, states_R = valid_BM.nonzero(as_tuple=True)
        log_probs_RC = head.all_classes(scored.log_probs_BMW[valid_BM], first=True)
        positions = [Positions(utts_R, states_R, 0, scored.hidden_BMH[valid_BM], log_probs_RC)]
        positions += self._continued(scored, valid_BM)
        hidden_BMH, log_probs_BMC, states_BM, lens_B = in_order(positions, scored.lens_B)
        posteriors = Posteriors(log_probs_BMC, lens_B, self._units, self.stack, states_BM)
        return ConnectorOutput(*self.embed(hidden_BMH, posteriors), posteriors)

    def _continued(self, scored: "_Scored", valid_BM: Tensor) -> list[Positions]:
        """Return the positions of further units after the words of the best labels."""
        head = self.head
        utts_N, states_N = run_ends(scored.log_probs_BMW.argmax(-1) * valid_BM)  # N: words
        word_R, classes_R, shares_R = beginnings(scored.log_probs_BMW[utts_N, states_N])  # R: beginnings of words
        words = self._words(scored, utts_N[word_R], states_N[word_R])
        units_R = head.first_units_W[classes_R]
        positions: list[Positions] = []
        for step in range(MAX_FURTHER):
            if not len(units_R):
                break
            hidden_RH, log_probs_RF = self._next(scored, words, units_R, step)
            word_N, hidden_NH, log_probs_NF = mixture(word_R, shares_R, hidden_RH, log_probs_RF)
            log_probs_NC = head.all_classes(log_probs_NF, first=False)
            positions.append(Positions(utts_N[word_N], states_N[word_N], 1 + step, hidden_NH, log_probs_NC))
            best_R = log_probs_RF.argmax(-1)
            goes_on = best_R.nonzero()[:, 0]
            words, units_R = words.select(goes_on), head.further_units_F[best_R[goes_on]]
            word_R, shares_R = word_R[goes_on], shares_R[goes_on]
        return positions

    def _feed_forward(self, layer: Any, hidden: Tensor) -> Tensor:
        """Return the output of the feed-forward module of a layer."""
        return self._drop(layer.fc2(gelu(layer.fc1(layer.final_layer_norm(hidden)))))

    def _drop(self, hidden: Tensor) -> Tensor:
        return dropout(hidden, self.options.dropout, self.training)


class _Scored(NamedTuple):
    """Positions of the stacked states, and all that continuations of words attend to."""

    hidden_BMH: Tensor
    log_probs_BMW: Tensor
    """Log-probabilities of the blank (class 0) and the units that begin a word."""
    lens_B: Tensor
    """Number of valid stacked states."""
    own: list[tuple[Tensor, Tensor]]
    """Keys and values (B, M, H) of the stacked states in each layer."""
    windows: list[Windows]
    """Keys and values of the encoder states in each layer."""


def _project(layer: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """Return the keys and values of an attention layer of the decoder."""
    return layer.k_proj(states), layer.v_proj(states)


def _attend_all(queries_RH: Tensor, keys_RKH: Tensor, values_RKH: Tensor, num_heads: int) -> Tensor:
    """Return the values (R, H) attended to with one query for each row of keys."""
    rows = queries_RH[:, None], keys_RKH, values_RKH
    by_head = (one.unflatten(-1, (num_heads, -1)).transpose(1, 2) for one in rows)
    return scaled_dot_product_attention(*by_head)[:, :, 0].flatten(1)


class _Layers(nn.Module):
    """Layers and final normalisation of Whisper's decoder."""

    def __init__(self, decoder: "WhisperDecoder") -> None:
        super().__init__()
        self.layers, self.norm = decoder.layers, decoder.layer_norm


def _tokenizer(path: str, option: str) -> Any:
    """Return Whisper's tokenizer."""
    from transformers import WhisperTokenizerFast

    with reading(option, path, "a Whisper model with its tokenizer"):
        return WhisperTokenizerFast.from_pretrained(path)

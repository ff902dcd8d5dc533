"""Connector with a CTC head that begins with the layers of Whisper's decoder.

Whisper's decoder (Radford et al., 2022, arXiv 2212.04356) writes one token after the other. Here words are computed at
once, and the tokens of a word one after the other:

1. Every stacked state has a copy of the same query, the last token of the decoder's prompt, and attends to the states
   around it (``_local_attention.py``). Without a text before it, the decoder names the word that is spoken there. CTC
   over the tokens that begin a word finds the words.
2. Each word is continued as the decoder continues a text: the next position has the embedding of the token before it,
   and attends to the word's stacked state, to the positions between, and to the states around them. The token of a next
   word means that the word is complete. Its probable spellings are searched (``_words.py``).
3. In a second pass (``_second_pass.py``), Whisper's decoder scores the tokens of each word, given the preceding words.
4. Posteriors over Whisper's tokens become posteriors over the LLM's units (``_respelling.py``): the further units of a
   word are inserted after its last state, so that the search has a longer sequence. ``_ctc.py`` describes the speech
   tokens.
5. The decoder of the second pass rescores the complete hypotheses of a beam search (attention rescoring: Zhang et al.,
   2020, arXiv 2012.05481).

The logits are products with Whisper's token embeddings. Layers and embeddings are frozen; LoRA adapters, the attention
windows, the query and the blank are trained, with the CTC loss of the first tokens, and the cross-entropy of the
further tokens after the states of a forced alignment. This connector is not in the paper.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss, pad, scaled_dot_product_attention

from speechllm.base_models import load_whisper, reading
from speechllm.connectors._ctc import CTCOptions, SubwordCTC
from speechllm.connectors._local_attention import LocalAttention, Windows, all_heads, by_head
from speechllm.connectors._respelling import Respelling
from speechllm.connectors._second_pass import SecondPass, Texts
from speechllm.connectors._whisper_layers import WhisperLayers, keys_values
from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._word_head import WordHead
from speechllm.connectors._words import CHOICES, Runs, Spelling, SpellingSearch, Words, best_runs, locate
from speechllm.ctc import ctc_loss
from speechllm.errors import ConfigError
from speechllm.interfaces import ConnectorOutput, Decoder, Encoder, Posteriors
from speechllm.lengths import length_mask
from speechllm.lora import LoraOptions, merged, with_lora
from speechllm.ranges import probability

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

LINEAR = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""Names of the linear layers of Whisper's decoder."""
MULTILINGUAL = 51865
"""Least size of the vocabulary of a multilingual Whisper; English-only ones have one token less."""
MAX_FURTHER = 12
"""Largest number of tokens after the first of a word."""


@dataclass(frozen=True, kw_only=True)
class Config(CTCOptions):
    """Subword units and adapters; the decoder is that of the encoder's Whisper model."""

    bpe_merges: int = 50000
    """Number of the tokenizer's first BPE merges that define the subword units."""
    lower_case: bool = True
    """Whether subword units have no capitals; the CTC loss always ignores case."""
    lora: LoraOptions = field(default_factory=lambda: LoraOptions(rank=32, alpha=64.0, dropout=0.0, modules=LINEAR))
    """Adapters of the decoder's layers."""
    second_pass_weight: float = 0.7
    """Weight of Whisper's decoder in the second pass (0 to below 1); 0: no second pass."""

    def __post_init__(self) -> None:
        """Check the ranges of the values."""
        super().__post_init__()
        probability(self, "second_pass_weight")

    def build(self, input_dim: int, output_dim: int, segment_states: int) -> "WhisperCTC":
        """Build the connector for states of ``input_dim`` and an LLM of ``output_dim``."""
        return WhisperCTC(input_dim, output_dim, segment_states, self)


class WhisperCTC(SubwordCTC):
    """Layers of Whisper's decoder with local attention, and a CTC head of Whisper's token embeddings.

    Args:
        input_dim: dimension D of the states, and of the decoder.
        output_dim: embedding dimension E of the LLM.
        segment_states: number of encoder states of a segment.
        config: sizes.
    """

    head: WordHead
    positions_KH: Tensor
    """Positional embeddings of the positions that continue a word."""

    def __init__(self, input_dim: int, output_dim: int, segment_states: int, config: Config) -> None:
        super().__init__(input_dim, input_dim, output_dim, config)
        self._segment_states, self._config = segment_states, config
        self.rescores = config.second_pass_weight > 0
        nn.init.zeros_(self.input.weight)
        nn.init.zeros_(self.input.bias)

    def bind_encoder(self, encoder: Encoder) -> None:
        """Load the decoder of the encoder's Whisper model.

        Raises:
            ConfigError: if the encoder's base model is not Whisper, lacks the weights of the decoder, or is
                multilingual and there is a second pass.
        """
        like = self.residual.weight
        option = "connector.type: whisper_ctc: encoder.path"
        decoder = load_whisper("decoder", encoder.path, like.dtype, option=option).to(like.device).requires_grad_(False)
        if self._config.second_pass_weight and decoder.config.vocab_size >= MULTILINGUAL:
            raise ConfigError(
                f"connector.second_pass_weight: found {self._config.second_pass_weight} with {encoder.path!r}, a "
                "multilingual Whisper, whose decoder needs a language; set it and decode.search.rescoring_weight to 0, "
                "or name an English-only Whisper"
            )
        tokenizer = _tokenizer(encoder.path, option)
        self._tokens = WhisperTokens(tokenizer)
        embeddings_VH = decoder.embed_tokens.weight.detach()
        self.head = WordHead(
            self._tokens.begins, embeddings_VH[self._tokens.ids], embeddings_VH[tokenizer.eos_token_id]
        )
        prompt: list[int] = tokenizer.prefix_tokens
        positions_KH = decoder.embed_positions.weight.detach()[len(prompt) - 1 :][: 1 + MAX_FURTHER]
        self.query_H = nn.Parameter(embeddings_VH[prompt[-1]] + positions_KH[0])
        self.register_buffer("positions_KH", positions_KH[1:].clone(), persistent=False)
        self.own = self._local(decoder, rate=1, margin=16, centre=0.0, width=2.5)
        self.cross = self._local(decoder, rate=self.stack, margin=8, centre=1.5, width=1.25)
        self.after = self._local(decoder, rate=self.stack, margin=8, centre=1.5, width=2.0)
        weight = self._config.second_pass_weight
        eos = tokenizer.eos_token_id
        self.second_pass = SecondPass(decoder, prompt, eos, self._tokens, self.head, self._segment_states, weight)
        self.decoder = with_lora(WhisperLayers(decoder), self._config.lora, "connector.lora")

    @property
    def base_model(self) -> nn.Module:
        """The layers of Whisper's decoder with adapters, those of the second pass not included."""
        return self.decoder

    @staticmethod
    def _local(decoder: "WhisperDecoder", **options: Any) -> nn.ModuleList:
        """Return the local attention of each layer."""
        heads = decoder.config.decoder_attention_heads
        return nn.ModuleList(LocalAttention(heads, **options) for _ in decoder.layers)

    def bind(self, decoder: Decoder) -> None:
        """Store the LLM's subword units and embeddings, and build the CTC head."""
        super().bind(decoder)
        self._respelling = Respelling(self._tokens, self._units, self.head.first_W)

    def merge_adapters(self) -> None:
        """Add the adapters to the weights of the decoder's layers."""
        self.decoder = merged(self.decoder)

    def forward(self, states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Return embeds_BSE, their number for each utterance, and the posteriors of states and continuations."""
        return self._speech_tokens(self._score(states_BLD, state_lens_B), states_BLD, state_lens_B)

    def ctc_loss(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]) -> Tensor:
        """Return the summed loss of transcripts (nats): CTC of the first tokens, cross-entropy of the further tokens.

        The loss of an utterance with too few states for its words is 0.
        """
        return self._loss(self._score(states_BLD, state_lens_B), texts)

    def with_ctc_loss(
        self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[str]
    ) -> tuple[ConnectorOutput, Tensor]:
        """Return the speech tokens and ``ctc_loss``."""
        scored = self._score(states_BLD, state_lens_B)
        return self._speech_tokens(scored, states_BLD, state_lens_B), self._loss(scored, texts)

    def log_probs(self, states_BLD: Tensor, state_lens_B: Tensor, texts: list[list[str]]) -> list[list[float] | None]:
        """Return the log-probabilities of the n-best texts of each utterance by Whisper's decoder without adapters.

        Numbers and punctuation are not scored, so that a text with others than the best text has the log-probability
        of the best text, and cannot precede it. None for an utterance that is longer than a segment, or without words.
        """
        found: list[list[float] | None] = []
        for states_LD, length, some in zip(states_BLD, state_lens_B.tolist(), texts, strict=True):
            spelled = [tuple(token for word in self._tokens.words(text) for token in word) for text in some]
            if length > self._segment_states or not any(spelled):
                found.append(None)
                continue
            unscored = [self._tokens.unscored(text) for text in some]
            scored = sorted({one for one, other in zip(spelled, unscored, strict=True) if other == unscored[0]})
            log_probs = self.second_pass.log_probs(states_LD[:length], scored).tolist()
            known = dict(zip(scored, log_probs, strict=True))
            found.append([known.get(one, known[spelled[0]]) for one in spelled])
        return found

    def _score(self, states_BLD: Tensor, state_lens_B: Tensor) -> "_Scored":
        """Compute the positions of the stacked states."""
        stacked_BMD, used_BM = self.stacked(states_BLD, state_lens_B)
        states_BLD = pad(states_BLD, (0, 0, 0, -states_BLD.shape[1] % self.stack))
        used_BL = length_mask(state_lens_B, states_BLD.shape[1]) & used_BM.repeat_interleave(self.stack, 1)
        hidden_BMH = self.query_H + self.input(stacked_BMD * used_BM[..., None])
        lens_B = self.output_lengths(state_lens_B)
        valid_BM = length_mask(lens_B, used_BM.shape[1])
        own_keys: list[tuple[Tensor, Tensor]] = []
        windows: list[Windows] = []

        def attend_own(layer: int, attention: Any, normed_BMH: Tensor) -> Tensor:
            own_keys.append(keys_values(attention, normed_BMH))
            own: Any = self.own[layer]  # ModuleList has no type of its items
            return own(attention.q_proj(normed_BMH), own.windows(*own_keys[layer], valid_BM))  # type: ignore[no-any-return]

        def attend_cross(layer: int, attention: Any, normed_BMH: Tensor) -> Tensor:
            cross: Any = self.cross[layer]
            windows.append(cross.windows(*keys_values(attention, states_BLD), used_BL))
            return cross(attention.q_proj(normed_BMH), windows[layer])  # type: ignore[no-any-return]

        hidden_BMH = self.decoder(hidden_BMH, attend_own, attend_cross, self.options.dropout)
        log_probs_BMW = self.head(hidden_BMH).float().log_softmax(-1)
        return _Scored(hidden_BMH, log_probs_BMW, lens_B, own_keys, windows)

    def _words(self, scored: "_Scored", utts_R: Tensor, states_R: Tensor) -> Words:
        """Return words that begin at stacked states."""
        past = [(keys[utts_R, states_R][:, None], values[utts_R, states_R][:, None]) for keys, values in scored.own]
        return Words(utts_R, states_R, past)

    def _next(self, scored: "_Scored", words: Words, tokens_R: Tensor, step: int) -> Tensor:
        """Append a position after a token to each word.

        Args:
            scored: positions of the stacked states.
            words: words; keys and values of the new position are appended.
            tokens_R: the tokens.
            step: number of tokens before these in each word.

        Returns:
            Log-probabilities of the word's end (class 0) and of the further tokens.
        """

        def attend_own(layer: int, attention: Any, normed_RH: Tensor) -> Tensor:
            past = words.append(layer, *keys_values(attention, normed_RH))
            return _attend_all(attention.q_proj(normed_RH), *past, attention.num_heads)

        def attend_cross(layer: int, attention: Any, normed_RH: Tensor) -> Tensor:
            after: Any = self.after[layer]
            queries_RH = attention.q_proj(normed_RH)
            return after.at(queries_RH, words.utts_R, words.places_R, scored.windows[layer])  # type: ignore[no-any-return]

        hidden_RH = self.head.embeddings(tokens_R) + self.positions_KH[step]
        hidden_RH = self.decoder(hidden_RH, attend_own, attend_cross, self.options.dropout)
        return self.head.further(hidden_RH).float().log_softmax(-1)

    def _loss(self, scored: "_Scored", texts: list[str]) -> Tensor:
        """Return the summed loss of transcripts."""
        head, device = self.head, scored.hidden_BMH.device
        words = [self._tokens.words(text) for text in texts]
        labels = [[head.classes[tokens[0]] for tokens in one] for one in words]
        loss = ctc_loss(scored.log_probs_BMW, scored.lens_B, [torch.tensor(one, dtype=torch.long) for one in labels])
        found = locate(scored.log_probs_BMW, scored.lens_B, labels, words)
        continued = self._words(scored, found.utts_R, found.states_R)
        for step in range(MAX_FURTHER):
            number = found.longer(step)
            if not number:
                break
            continued = continued.select(slice(number))
            tokens = [one[step] for one in found.tokens[:number]]
            targets = [head.classes[one[step + 1]] if len(one) > step + 1 else 0 for one in found.tokens[:number]]
            log_probs_RF = self._next(scored, continued, torch.tensor(tokens, device=device), step)
            loss = loss + nll_loss(log_probs_RF, torch.tensor(targets, device=device), reduction="sum")
        return loss

    def _speech_tokens(self, scored: "_Scored", states_BLD: Tensor, state_lens_B: Tensor) -> ConnectorOutput:
        """Spell the words of the best labels, and return the speech tokens."""
        valid_BM = length_mask(scored.lens_B, scored.hidden_BMH.shape[1])
        log_probs_BMW = scored.log_probs_BMW
        runs = best_runs(log_probs_BMW.argmax(-1) * valid_BM)
        texts = None
        if self._config.second_pass_weight and len(runs.utts_N):
            best = [one[0].tokens for one in self._spellings(scored, log_probs_BMW, runs, choices=1)]
            texts = self.second_pass.score_texts(
                states_BLD, state_lens_B, runs.utts_N, runs.firsts_N * self.stack, best
            )
            log_probs_BMW = self.second_pass.rescore(log_probs_BMW, runs, texts)
        spellings = self._spellings(scored, log_probs_BMW, runs, texts=texts)
        log_probs_BPC, states_BP, lens_B = self._respelling(log_probs_BMW, scored.lens_B, runs, spellings)
        hidden_BPH = scored.hidden_BMH[torch.arange(len(states_BP), device=states_BP.device)[:, None], states_BP]
        posteriors = Posteriors(log_probs_BPC, lens_B, self._units, self.stack, states_BP)
        return ConnectorOutput(*self.embed(hidden_BPH, posteriors), posteriors)

    @torch.no_grad()  # spellings have no gradient
    def _spellings(
        self,
        scored: "_Scored",
        log_probs_BMW: Tensor,
        runs: Runs,
        *,
        choices: int = CHOICES,
        texts: Texts | None = None,
    ) -> list[list[Spelling]]:
        """Return the probable spellings of the words, which begin at the last states of their runs.

        Args:
            scored: positions of the stacked states.
            log_probs_BMW: log-probabilities of the blank and the first tokens.
            runs: states of the words.
            choices: largest number of first tokens of a word, and of tokens after each of its spellings.
            texts: the words as texts, for the second pass.
        """
        log_probs_NW = log_probs_BMW[runs.utts_N, runs.lasts_N]
        search = SpellingSearch(len(log_probs_NW), log_probs_NW.device, choices)
        before_R = search.extend(log_probs_NW[:, 1:], self.head.first_W[1:])
        words = self._words(scored, runs.utts_N[before_R], runs.lasts_N[before_R])
        second_words = None if texts is None else self.second_pass.start(texts, before_R)
        for step in range(MAX_FURTHER):
            if not len(before_R):
                break
            tokens_R = search.tokens_RS[:, -1]
            log_probs_RF = self._next(scored, words, tokens_R, step)
            if texts is not None and second_words is not None:
                log_probs_RF = self.second_pass.score_further(texts, second_words, tokens_R, step, log_probs_RF)
            before_R = search.extend(log_probs_RF, self.head.further_F)
            words, second_words = words.select(before_R), second_words and second_words.select(before_R)
        return search.finish()


class _Scored(NamedTuple):
    """Positions of the stacked states, and all that continuations of words attend to."""

    hidden_BMH: Tensor
    log_probs_BMW: Tensor
    """Log-probabilities of the blank (class 0) and the tokens that begin a word."""
    lens_B: Tensor
    """Number of valid stacked states."""
    own: list[tuple[Tensor, Tensor]]
    """Keys and values (B, M, H) of the stacked states in each layer."""
    windows: list[Windows]
    """Keys and values of the encoder states in each layer."""


def _attend_all(queries_RH: Tensor, keys_RKH: Tensor, values_RKH: Tensor, num_heads: int) -> Tensor:
    """Return the values (R, H) attended to with one query for each row of keys."""
    queries, keys, values = (by_head(one, num_heads) for one in (queries_RH[:, None], keys_RKH, values_RKH))
    return all_heads(scaled_dot_product_attention(queries, keys, values))[:, 0]


def _tokenizer(path: str, option: str) -> Any:
    """Return Whisper's tokenizer."""
    from transformers import WhisperTokenizerFast

    with reading(option, path, "a Whisper model with its tokenizer"):
        return WhisperTokenizerFast.from_pretrained(path)

"""Second pass of the connector whisper_ctc: Whisper's decoder scores each word after the words before it.

The first pass finds all words at once, without any text before them. In the second pass (two-pass recognition: Sainath
et al., 2019, arXiv 1908.10992), Whisper's decoder without adapters has the best words of the first pass as its text.
All of them are given, so that one call computes all positions of the text, and a further one the next token of all
spellings. The states of each segment of the encoder (30 s) have a text of their own.

Whisper writes capitals and punctuation, which transcripts may lack. Probabilities of tokens that differ only in case
are added, and the first pass alone selects punctuation at the end of a word.
"""

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from speechllm.connectors._whisper_layers import WhisperLayers, all_heads, by_head, keys_values
from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._word_head import WordHead
from speechllm.connectors._words import Runs, Words
from speechllm.lengths import length_mask, ranks
from speechllm.transfer import to_device

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

NEG_INF = float("-inf")
MASKED = -1e4
"""Score of a masked key: finite also in half precision."""
TINY = torch.finfo(torch.float32).tiny


class Texts(NamedTuple):
    """Words (N) as texts of those segments (G) that have words."""

    segments_N: Tensor
    places_N: Tensor
    """Position of the first token of each word in the text of its segment."""
    log_probs_NW: Tensor
    """Log-probabilities of the tokens that begin a word, without the blank."""
    own: list[tuple[Tensor, Tensor]]
    """Keys and values (G, A, K, D) of the positions for each layer and head."""
    cross: list[tuple[Tensor, Tensor]]
    """Keys and values (G, A, L, D) of the encoder states for each layer and head."""
    valid_G11L: Tensor
    """Whether each encoder state is valid."""


class SecondPass(nn.Module):
    """Frozen decoder of Whisper that scores words after the words before them.

    Args:
        decoder: Whisper's decoder; its layers are copied.
        prompt: ids of the tokens before a text.
        tokens: tokens without case.
        head: classes of the tokens.
        segment_states: number of encoder states of a segment.
        weight: weight of the second pass (0 to 1); the first pass has the rest.
    """

    embeddings_VH: Tensor
    positions_KH: Tensor
    ids_T: Tensor
    """Id of each token without case."""
    first_V: Tensor
    """Class of each id among the tokens that begin a word; 0: none of them."""
    ends_V: Tensor
    """Whether a word is complete before each id."""
    ids_F: Tensor
    """Id of each class of further tokens; class 0, the end of the word, has none."""
    ends_F: Tensor
    """Whether each of these classes is the end or punctuation."""

    def __init__(
        self,
        decoder: "WhisperDecoder",
        prompt: list[int],
        tokens: WhisperTokens,
        head: WordHead,
        segment_states: int,
        weight: float,
    ) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(WhisperLayers(decoder))
        self._heads = decoder.config.decoder_attention_heads
        self._prompt, self._ids, self._segment_states, self._weight = prompt, tokens.ids, segment_states, weight
        self._first_classes = 1 + sum(tokens.begins)
        embeddings_VH = decoder.embed_tokens.weight.detach()
        first_V = torch.zeros(len(embeddings_VH), dtype=torch.long)
        ends_V = torch.ones(len(embeddings_VH), dtype=torch.bool)
        for token, ids in enumerate(tokens.forms):
            first_V[ids] = head.classes[token] if tokens.begins[token] else 0
            ends_V[ids] = tokens.begins[token] or tokens.punctuation[token]
        further_F = head.further_F.cpu()
        buffers = {
            "embeddings_VH": embeddings_VH,
            "positions_KH": decoder.embed_positions.weight.detach(),
            "ids_T": torch.tensor(tokens.ids),
            "first_V": first_V,
            "ends_V": ends_V,
            "ids_F": torch.tensor(tokens.ids)[further_F],
            "ends_F": torch.tensor(tokens.punctuation)[further_F] | (further_F < 0),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.to(embeddings_VH.device), persistent=False)

    @torch.no_grad()
    def read(
        self, states_BLD: Tensor, state_lens_B: Tensor, utts_N: Tensor, states_N: Tensor, words: list[tuple[int, ...]]
    ) -> Texts:
        """Compute the positions of texts.

        Args:
            states_BLD: states of the encoder.
            state_lens_B: number of valid states.
            utts_N: utterance of each word, in ascending order; there is at least one word.
            states_N: first encoder state of each word, in ascending order in each utterance.
            words: tokens of each word.
        """
        batch, length, dim = states_BLD.shape
        size = min(self._segment_states, length)
        number = -(-length // size)
        used_G, segments_N = (utts_N * number + states_N // size).unique(return_inverse=True)
        states_GLD = pad(states_BLD, (0, 0, 0, number * size - length)).reshape(batch * number, size, dim)[used_G]
        lens_P = (state_lens_B[:, None] - size * torch.arange(number, device=used_G.device)).clamp(0, size).flatten()
        valid_G11L = length_mask(lens_P[used_G], size)[:, None, None]
        cross = [self._keys_values(layer.encoder_attn, states_GLD) for layer in self._layers]
        own: list[tuple[Tensor, Tensor]] = []

        def attend_own(layer: int, attention: Any, normed_GKH: Tensor) -> Tensor:
            own.append(self._keys_values(attention, normed_GKH))
            queries_GAKD = by_head(attention.q_proj(normed_GKH), self._heads)
            return all_heads(scaled_dot_product_attention(queries_GAKD, *own[layer], is_causal=True))

        def attend_cross(layer: int, attention: Any, normed_GKH: Tensor) -> Tensor:
            queries_GAKD = by_head(attention.q_proj(normed_GKH), self._heads)
            return all_heads(scaled_dot_product_attention(queries_GAKD, *cross[layer], attn_mask=valid_G11L))

        ids_GK, places_N = self._join(segments_N, words)
        positions_K = torch.arange(ids_GK.shape[1], device=ids_GK.device)
        hidden_GKH = self.decoder(self._embed(ids_GK, positions_K), attend_own, attend_cross)
        log_probs_NW = self._first(hidden_GKH[segments_N, places_N - 1])
        return Texts(segments_N, places_N, log_probs_NW, own, cross, valid_G11L)

    def begin(self, texts: Texts, words_R: Tensor) -> Words:
        """Return some of the words, for ``next``."""
        nothing_R0H = self.embeddings_VH.new_empty(len(words_R), 0, self.embeddings_VH.shape[1])
        past = [(nothing_R0H, nothing_R0H) for _ in texts.own]
        return Words(texts.segments_N[words_R], texts.places_N[words_R], past)

    def rescore(self, log_probs_BMW: Tensor, runs: Runs, texts: Texts) -> Tensor:
        """Return the log-probabilities of the blank (class 0), unchanged, and of first tokens with both passes."""
        lens_N = runs.lasts_N - runs.firsts_N + 1
        words_Q = torch.arange(len(lens_N), device=lens_N.device).repeat_interleave(lens_N)
        index = runs.utts_N[words_Q], runs.firsts_N[words_Q] + ranks(words_Q)
        first_QW = log_probs_BMW[index]
        total_Q1 = first_QW[:, 1:].logsumexp(1, keepdim=True)
        both_QW = total_Q1 + self._interpolate(first_QW[:, 1:], texts.log_probs_NW[words_Q])
        return log_probs_BMW.index_put(index, torch.cat([first_QW[:, :1], both_QW], 1))

    @torch.no_grad()
    def next(self, texts: Texts, words: Words, tokens_R: Tensor, step: int, first_RF: Tensor) -> Tensor:
        """Append a position after a token to each word.

        Args:
            texts: positions of the texts.
            words: words; keys and values of the new position are appended.
            tokens_R: the tokens.
            step: number of tokens before these in each word.
            first_RF: log-probabilities by the first pass of the word's end (class 0) and of the further tokens.

        Returns:
            Log-probabilities (R, F) with both passes.
        """
        grouped = _Grouped(words.utts_R, len(texts.valid_G11L), self._heads)
        before_RK = length_mask(words.places_R, texts.own[0][0].shape[2])

        def attend_own(layer: int, attention: Any, normed_RH: Tensor) -> Tensor:
            past = words.append(layer, *keys_values(attention, normed_RH))
            return grouped.attend_both(attention.q_proj(normed_RH), *texts.own[layer], before_RK, *past)

        def attend_cross(layer: int, attention: Any, normed_RH: Tensor) -> Tensor:
            return grouped.attend(attention.q_proj(normed_RH), *texts.cross[layer], texts.valid_G11L)

        hidden_RH = self._embed(self.ids_T[tokens_R], words.places_R + step)
        return self._interpolate(first_RF, self._further(self.decoder(hidden_RH, attend_own, attend_cross), first_RF))

    def _first(self, hidden_NH: Tensor) -> Tensor:
        """Return the log-probabilities of the tokens that begin a word (N, W), their forms with capitals included."""
        probs_NV = self._logits(hidden_NH).softmax(1)
        probs_NW = probs_NV.new_zeros(len(probs_NV), self._first_classes).index_add(1, self.first_V, probs_NV)
        return probs_NW[:, 1:].clamp(min=TINY).log().log_softmax(1)

    def _further(self, hidden_RH: Tensor, first_RF: Tensor) -> Tensor:
        """Return the log-probabilities of a word's end (class 0) and of further tokens.

        The first pass divides the probability that the word is complete between the end and punctuation.
        """
        logits_RV = self._logits(hidden_RH)
        ends_R1 = logits_RV.masked_fill(~self.ends_V, NEG_INF).logsumexp(1, keepdim=True)
        ends_RF = first_RF.masked_fill(~self.ends_F, NEG_INF).log_softmax(1) + ends_R1
        return torch.where(self.ends_F, ends_RF, logits_RV[:, self.ids_F]).log_softmax(1)

    def _interpolate(self, first_QC: Tensor, second_QC: Tensor) -> Tensor:
        """Return the log-probabilities with both passes."""
        return ((1 - self._weight) * first_QC + self._weight * second_QC).log_softmax(1)

    def _join(self, segments_N: Tensor, words: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        """Return the ids (G, K) of the texts, prompts included, and the position of each word."""
        texts: list[list[int]] = []
        places = []
        for segment, tokens in zip(segments_N.tolist(), words, strict=True):
            if segment == len(texts):
                texts.append(list(self._prompt))
            places.append(len(texts[segment]))
            texts[segment] += [self._ids[token] for token in tokens]
        ids_GK = pad_sequence([torch.tensor(one) for one in texts], batch_first=True)
        return to_device(ids_GK, segments_N.device), to_device(torch.tensor(places), segments_N.device)

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return the embeddings of tokens; positions beyond the last one of Whisper are replaced by that one."""
        return self.embeddings_VH[ids] + self.positions_KH[positions.clamp(max=len(self.positions_KH) - 1)]

    def _logits(self, hidden_RH: Tensor) -> Tensor:
        return linear(hidden_RH, self.embeddings_VH).float()

    def _keys_values(self, attention: Any, states_GLH: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values (G, A, L, D) of an attention module."""
        keys_GLH, values_GLH = keys_values(attention, states_GLH)
        return by_head(keys_GLH, self._heads), by_head(values_GLH, self._heads)

    @property
    def _layers(self) -> Any:
        return self.decoder.layers


class _Grouped:
    """Attention of queries (R) that share keys.

    Args:
        groups_R: index of the shared keys of each query.
        number: number of groups G.
        heads: number of heads A.
    """

    def __init__(self, groups_R: Tensor, number: int, heads: int) -> None:
        self._index = groups_R, ranks(groups_R)
        self._shape = number, 1 + int(self._index[1].max())
        self._heads = heads

    def attend(self, queries_RH: Tensor, keys_GAKD: Tensor, values_GAKD: Tensor, valid_G11K: Tensor) -> Tensor:
        """Return the attended values (R, H)."""
        queries_GAQD = by_head(self._group(queries_RH), self._heads)
        attended = scaled_dot_product_attention(queries_GAQD, keys_GAKD, values_GAKD, attn_mask=valid_G11K)
        return all_heads(attended)[self._index]

    def attend_both(
        self,
        queries_RH: Tensor,
        keys_GAKD: Tensor,
        values_GAKD: Tensor,
        valid_RK: Tensor,
        own_keys_RSH: Tensor,
        own_values_RSH: Tensor,
    ) -> Tensor:
        """Return the values (R, H) attended to by shared keys, if they are valid, and by own keys of each query."""
        queries_GAQD = by_head(self._group(queries_RH * keys_GAKD.shape[-1] ** -0.5), self._heads)
        shared_RAK = (queries_GAQD @ keys_GAKD.mT).transpose(1, 2)[self._index]
        shared_RAK = shared_RAK.masked_fill(~valid_RK[:, None], MASKED)
        queries_RA1D = queries_GAQD.transpose(1, 2)[self._index][:, :, None]
        own_RAS = (queries_RA1D @ by_head(own_keys_RSH, self._heads).mT)[:, :, 0]
        shares_RAC = torch.cat([shared_RAK, own_RAS], 2).float().softmax(2).to(queries_RH.dtype)
        shared_RAK, own_RAS = shares_RAC.split([keys_GAKD.shape[2], own_RAS.shape[2]], 2)
        shared_GAQK = self._group(shared_RAK).transpose(1, 2)
        shared_RAD = (shared_GAQK @ values_GAKD).transpose(1, 2)[self._index]
        own_RAD = (own_RAS[:, :, None] @ by_head(own_values_RSH, self._heads))[:, :, 0]
        return (shared_RAD + own_RAD).flatten(1)

    def _group(self, values: Tensor) -> Tensor:
        """Return values (R, ...) as (G, Q, ...)."""
        return values.new_zeros(*self._shape, *values.shape[1:]).index_put(self._index, values)

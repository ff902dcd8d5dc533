"""Second pass of the connector whisper_ctc: Whisper's decoder scores each word, given the preceding words.

The first pass finds all words at once, without any text before them. In the second pass (two-pass recognition: Sainath
et al., 2019, arXiv 1908.10992), Whisper's decoder without adapters has the best words of the first pass as its text.
One call computes all positions of the text, and a further one the next token of all spellings. Each segment of the
encoder (30 s) has a text of its own.

Whisper writes capitals, numbers, abbreviations and punctuation, which transcripts may lack. So probabilities of tokens
that differ only in case are added, punctuation and numbers keep the probabilities of the first pass, and it alone
decides between the end of a word and punctuation.

The same decoder scores complete hypotheses.
"""

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from speechllm.connectors._local_attention import MASKED, all_heads, by_head
from speechllm.connectors._respelling import LEAST
from speechllm.connectors._whisper_layers import WhisperLayers, keys_values
from speechllm.connectors._whisper_tokens import WhisperTokens
from speechllm.connectors._word_head import WordHead
from speechllm.connectors._words import Runs, Words
from speechllm.lengths import Groups, length_mask, ranks, split_segments
from speechllm.transfer import to_device

if TYPE_CHECKING:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

NEG_INF = float("-inf")
END = -1
"""Target after the last token of a text: Whisper's end of text."""


class Texts(NamedTuple):
    """Words (N) as texts of those segments (G) that have words."""

    segments_N: Tensor
    places_N: Tensor
    """Position of the first token of each word in the text of its segment."""
    log_probs_NW: Tensor
    """Log-probabilities of the tokens that begin a word."""
    own: list[tuple[Tensor, Tensor]]
    """Keys and values (G, A, K, D) of the positions for each layer and head."""
    cross: list[tuple[Tensor, Tensor]]
    """Keys and values (G, A, L, D) of the encoder states for each layer and head."""
    valid_G11L: Tensor
    """Whether each encoder state is valid."""


class SecondPass(nn.Module):
    """Frozen decoder of Whisper that scores each word, given the preceding words.

    Args:
        decoder: Whisper's decoder; its layers are copied.
        prompt: ids of the tokens before a text.
        eos: id of the end of text.
        tokens: tokens without case.
        head: classes of the tokens.
        segment_states: number of encoder states of a segment.
        weight: weight of the second pass (0 to below 1); the first pass has the rest.
    """

    embeddings_VH: Tensor
    positions_KH: Tensor
    ids_T: Tensor
    """Id of each token without case: of its most frequent form."""
    words_T: Tensor
    """Whether each token is a word's, neither punctuation nor a number."""
    words_W: Tensor
    """Whether each class of tokens that begin a word, without the blank, is a word's."""
    words_F: Tensor
    """Whether each class of further tokens is a word's, neither its end nor punctuation."""

    def __init__(
        self,
        decoder: "WhisperDecoder",
        prompt: list[int],
        eos: int,
        tokens: WhisperTokens,
        head: WordHead,
        segment_states: int,
        weight: float,
    ) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(WhisperLayers(decoder)).requires_grad_(False)
        self._heads = decoder.config.decoder_attention_heads
        self._prompt, self._eos, self._segment_states, self._weight = prompt, eos, segment_states, weight
        embeddings_VH = decoder.embed_tokens.weight.detach()
        first, further = head.first_W[1:].tolist(), head.further_F[1:].tolist()
        self._ids = [ids[0] for ids in tokens.forms]
        self._first, self._further = (_Classes([tokens.forms[token] for token in one]) for one in (first, further))
        self._all = _Classes(tokens.forms)
        buffers = {
            "embeddings_VH": embeddings_VH,
            "positions_KH": decoder.embed_positions.weight.detach(),
            "ids_T": torch.tensor(self._ids),
            "words_T": torch.tensor(tokens.spoken),
            "words_W": torch.tensor([tokens.spoken[token] for token in first]),
            "words_F": torch.tensor([False, *(tokens.spoken[token] for token in further)]),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.to(embeddings_VH.device), persistent=False)

    @torch.no_grad()
    def score_texts(
        self, states_BLD: Tensor, state_lens_B: Tensor, utts_N: Tensor, states_N: Tensor, words: list[tuple[int, ...]]
    ) -> Texts:
        """Compute the positions of texts, and score the first token of each word.

        Args:
            states_BLD: states of the encoder.
            state_lens_B: number of valid states.
            utts_N: utterance of each word, in ascending order; there is at least one word.
            states_N: first encoder state of each word, in ascending order in each utterance.
            words: tokens of each word.
        """
        size = min(self._segment_states, states_BLD.shape[1])
        states_PLD, lens_P = split_segments(states_BLD, state_lens_B, size)
        number = len(states_PLD) // len(states_BLD)  # segments of an utterance
        used_G, segments_N = (utts_N * number + states_N // size).unique(return_inverse=True)
        valid_G11L = length_mask(lens_P[used_G], size)[:, None, None]
        cross = self._cross(states_PLD[used_G])
        ids_GK, places_N = self._join(segments_N, words)
        hidden_GKH, own = self._read(ids_GK, cross, valid_G11L)
        hidden_NH = hidden_GKH[segments_N, places_N - 1]
        log_probs_NW = self._first(self._logits(hidden_NH)).clamp(min=LEAST).log()
        return Texts(segments_N, places_N, log_probs_NW, own, cross, valid_G11L)

    def start(self, texts: Texts, words_R: Tensor) -> Words:
        """Return some of the words, for ``score_further``."""
        nothing_R0H = self.embeddings_VH.new_empty(len(words_R), 0, self.embeddings_VH.shape[1])
        past = [(nothing_R0H, nothing_R0H) for _ in texts.own]
        return Words(texts.segments_N[words_R], texts.places_N[words_R], past)

    def rescore(self, log_probs_BMW: Tensor, runs: Runs, texts: Texts) -> Tensor:
        """Return the log-probabilities of the blank (class 0), unchanged, and of first tokens with both passes."""
        lens_N = runs.lasts_N - runs.firsts_N + 1
        words_Q = torch.arange(len(lens_N), device=lens_N.device).repeat_interleave(lens_N)
        index = runs.utts_N[words_Q], runs.firsts_N[words_Q] + ranks(words_Q)
        first_QW = log_probs_BMW[index]
        both_QW = self._interpolate(first_QW[:, 1:], texts.log_probs_NW[words_Q], self.words_W)
        return log_probs_BMW.index_put(index, torch.cat([first_QW[:, :1], both_QW], 1))

    def score_further(self, texts: Texts, words: Words, tokens_R: Tensor, step: int, first_RF: Tensor) -> Tensor:
        """Append a position after a token to each word, and score its next token.

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
        hidden_RH = self.decoder(hidden_RH, attend_own, attend_cross)
        further_RF = pad(self._further(self._logits(hidden_RH)), (1, 0)) * self.words_F
        ends_R1 = (1 - further_RF.sum(1, keepdim=True)).clamp(min=LEAST).log()
        shares_RF = first_RF.masked_fill(self.words_F, NEG_INF).log_softmax(1)  # of the end and of punctuation
        second_RF = torch.where(self.words_F, further_RF.clamp(min=LEAST).log(), ends_R1 + shares_RF)
        return self._interpolate(first_RF, second_RF, torch.ones_like(self.words_F))

    @torch.no_grad()
    def log_probs(self, states_LD: Tensor, texts: list[tuple[int, ...]]) -> Tensor:
        """Return the log-probabilities (R) of texts of one utterance, their ends included, numbers and punctuation not.

        Args:
            states_LD: valid states of the encoder, at most one segment.
            texts: tokens of each text.
        """
        rows_R = torch.arange(len(texts), device=states_LD.device)
        cross = [
            (keys_1ALD.expand(len(texts), -1, -1, -1), values_1ALD.expand(len(texts), -1, -1, -1))
            for keys_1ALD, values_1ALD in self._cross(states_LD[None])
        ]
        ids_RK, _ = self._join(rows_R, texts)
        hidden_RKH, _ = self._read(ids_RK, cross)
        lens_R = to_device(torch.tensor([1 + len(one) for one in texts]), rows_R.device)
        rows_Q = rows_R.repeat_interleave(lens_R)
        hidden_QH = hidden_RKH[rows_Q, len(self._prompt) - 1 + ranks(rows_Q)]
        targets_Q = to_device(torch.tensor([token for one in texts for token in (*one, END)]), rows_R.device)
        log_probs_Q = self._score_tokens(hidden_QH, targets_Q)
        return log_probs_Q.new_zeros(len(texts)).index_add(0, rows_Q, log_probs_Q)

    def _score_tokens(self, hidden_QH: Tensor, targets_Q: Tensor) -> Tensor:
        """Return the log-probability (Q) of each token, 0 for numbers and punctuation."""
        logits_QV = self._logits(hidden_QH)
        ends_Q = targets_Q == END
        places_Q = targets_Q.masked_fill(ends_Q, 0)
        probs_Q = self._all(logits_QV).gather(1, places_Q[:, None])[:, 0]
        log_probs_Q = probs_Q.clamp(min=LEAST).log() * self.words_T[places_Q]
        return log_probs_Q.masked_scatter(ends_Q, logits_QV[ends_Q].log_softmax(1)[:, self._eos])

    def _cross(self, states_GLD: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the keys and values (G, A, L, D) of encoder states for each layer and head."""
        layers: Any = self.decoder.layers
        return [self._keys_values(layer.encoder_attn, states_GLD) for layer in layers]

    def _read(
        self, ids_GK: Tensor, cross: list[tuple[Tensor, Tensor]], valid_G11L: Tensor | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the hidden states (G, K, H) of texts, and their keys and values for each layer and head."""
        own: list[tuple[Tensor, Tensor]] = []

        def attend_own(layer: int, attention: Any, normed_GKH: Tensor) -> Tensor:
            own.append(self._keys_values(attention, normed_GKH))
            queries_GAKD = by_head(attention.q_proj(normed_GKH), self._heads)
            return all_heads(scaled_dot_product_attention(queries_GAKD, *own[layer], is_causal=True))

        def attend_cross(layer: int, attention: Any, normed_GKH: Tensor) -> Tensor:
            queries_GAKD = by_head(attention.q_proj(normed_GKH), self._heads)
            return all_heads(scaled_dot_product_attention(queries_GAKD, *cross[layer], attn_mask=valid_G11L))

        positions_K = torch.arange(ids_GK.shape[1], device=ids_GK.device)
        return self.decoder(self._embed(ids_GK, positions_K), attend_own, attend_cross), own

    def _logits(self, hidden_RH: Tensor) -> Tensor:
        """Return the logits (R, V) of the next token."""
        return linear(hidden_RH, self.embeddings_VH).float()

    def _interpolate(self, first_QC: Tensor, second_QC: Tensor, scored_C: Tensor) -> Tensor:
        """Return the log-probabilities with both passes; classes that are not scored keep those of the first pass."""
        both_QC = ((1 - self._weight) * first_QC + self._weight * second_QC).masked_fill(~scored_C, NEG_INF)
        total_Q1 = first_QC.masked_fill(~scored_C, NEG_INF).logsumexp(1, keepdim=True)
        return torch.where(scored_C, total_Q1 + both_QC.log_softmax(1), first_QC)

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

    def _keys_values(self, attention: Any, states_GLH: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values (G, A, L, D) of an attention module."""
        keys_GLH, values_GLH = keys_values(attention, states_GLH)
        return by_head(keys_GLH, self._heads), by_head(values_GLH, self._heads)


class _Classes(nn.Module):
    """Classes of ids with the same text without case.

    Args:
        forms: ids of each class (C).
    """

    ids_C: Tensor
    more_ids_E: Tensor
    more_classes_E: Tensor

    def __init__(self, forms: list[list[int]]) -> None:
        super().__init__()
        more = [(one, place) for place, ids in enumerate(forms) for one in ids[1:]]
        more_2E = torch.tensor(more, dtype=torch.long).reshape(-1, 2).T
        self.register_buffer("ids_C", torch.tensor([ids[0] for ids in forms]), persistent=False)
        self.register_buffer("more_ids_E", more_2E[0], persistent=False)
        self.register_buffer("more_classes_E", more_2E[1], persistent=False)

    def forward(self, logits_RV: Tensor) -> Tensor:
        """Return the probabilities (R, C) of the classes."""
        total_R1 = logits_RV.logsumexp(1, keepdim=True)
        probs_RC, more_RE = ((logits_RV[:, one] - total_R1).exp_() for one in (self.ids_C, self.more_ids_E))
        return probs_RC.index_add_(1, self.more_classes_E, more_RE)


class _Grouped:
    """Attention of queries (R) that share keys.

    Args:
        groups_R: index of the shared keys of each query.
        number: number of groups G.
        heads: number of heads A.
    """

    def __init__(self, groups_R: Tensor, number: int, heads: int) -> None:
        self._groups = Groups(groups_R, number)
        self._heads = heads

    def attend(self, queries_RH: Tensor, keys_GAKD: Tensor, values_GAKD: Tensor, valid_G11K: Tensor) -> Tensor:
        """Return the attended values (R, H)."""
        queries_GAQD = by_head(self._groups.pad(queries_RH), self._heads)
        attended = scaled_dot_product_attention(queries_GAQD, keys_GAKD, values_GAKD, attn_mask=valid_G11K)
        return all_heads(attended)[self._groups.index]

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
        queries_GAQD = by_head(self._groups.pad(queries_RH * keys_GAKD.shape[-1] ** -0.5), self._heads)
        shared_RAK = (queries_GAQD @ keys_GAKD.mT).transpose(1, 2)[self._groups.index]
        shared_RAK = shared_RAK.masked_fill(~valid_RK[:, None], MASKED)
        queries_RA1D = queries_GAQD.transpose(1, 2)[self._groups.index][:, :, None]
        own_RAS = (queries_RA1D @ by_head(own_keys_RSH, self._heads).mT)[:, :, 0]
        shares_RAC = torch.cat([shared_RAK, own_RAS], 2).float().softmax(2).to(queries_RH.dtype)
        shared_RAK, own_RAS = shares_RAC.split([keys_GAKD.shape[2], own_RAS.shape[2]], 2)
        shared_GAQK = self._groups.pad(shared_RAK).transpose(1, 2)
        shared_RAD = (shared_GAQK @ values_GAKD).transpose(1, 2)[self._groups.index]
        own_RAD = (own_RAS[:, :, None] @ by_head(own_values_RSH, self._heads))[:, :, 0]
        return (shared_RAD + own_RAD).flatten(1)

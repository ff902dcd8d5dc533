"""The complete model: encoder, connector, prompt and LLM (arXiv 2309.13963)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from speechllm.interfaces import (
    Connector,
    ConnectorOutput,
    Decoder,
    Encoder,
    GenerationOptions,
    Hypothesis,
    Posteriors,
    Utterances,
)
from speechllm.lengths import similar_lengths
from speechllm.models.ctc import EmbeddingMatrixHead, confidence, count_units
from speechllm.models.hot_words import choose_hot_words
from speechllm.models.prompt import Prompt, PromptConfig
from speechllm.models.splice import splice, with_targets
from speechllm.models.word_times import align_words
from speechllm.transfer import to_device

Objective: TypeAlias = Literal["llm", "ctc"]
"""Loss of a training step: cross entropy of the LLM, or CTC of the connector without the LLM."""
PADDED_STATES = 32
"""Largest difference of numbers of states in a batch of the encoder on a CPU; more padding takes more time than a
further batch."""


class Targets(NamedTuple):
    """Numbers of targets of a loss."""

    tokens: float
    """Target tokens of the LLM's loss, end-of-sequence included."""
    units: float
    """Text units of the CTC loss, at least one per utterance; 0 without a CTC loss."""


class Work(NamedTuple):
    """Sizes of the computation of a batch, available without waiting for the device."""

    states: int
    """Encoder states, including the padding of windows."""
    speech_tokens: int
    llm_tokens: int = 0
    """Input tokens of the LLM: prompt, speech and text."""
    llm_positions: int = 0
    """Input positions of the LLM: tokens and padding."""


class LossOutput(NamedTuple):
    """Loss and counts of one batch."""

    loss: Tensor
    """Nats per target: cross entropy, CTC loss, or their weighted sum."""
    num_correct: Tensor | None
    """Number of target tokens with the largest logit; None for CTC, which has no target at a given position."""
    num_tokens: int
    """Number of target tokens; for CTC, at least one per utterance."""
    work: Work
    """Sizes of the computation."""


class SpeechLLM(nn.Module):
    """A speech encoder connected to an LLM.

    Args:
        encoder: speech encoder; None for a model of dumped encoder states.
        connector: connector from the encoder's states to the decoder's embeddings.
        decoder: the LLM.
        prompt: template and instructions.
    """

    def __init__(self, encoder: Encoder | None, connector: Connector, decoder: Decoder, prompt: PromptConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector
        self.decoder = decoder
        self.prompt = Prompt(prompt, decoder)
        connector.bind(decoder)
        self.ctc_head: EmbeddingMatrixHead | None = None
        """CTC head for the pre-training of a connector without a CTC head; see ``add_ctc_head``."""

    def add_ctc_head(self, texts: Iterable[str]) -> None:
        """Prepare the objective ``ctc``: add a CTC head over the tokens of ``texts`` if the connector has none."""
        if self.connector.subwords is None:
            self.ctc_head = EmbeddingMatrixHead(self.decoder, texts)

    def merge_adapters(self) -> None:
        """Add the adapters of encoder, connector and LLM, if there are any, to the weights that they adapt."""
        for part in (self.encoder, self.connector, self.decoder):
            if part is not None:
                part.merge_adapters()

    def encode(self, batch: Utterances) -> tuple[Tensor, Tensor]:
        """Return states_BLD and state_lens_B, computed from features or dumped."""
        feat_lens_B = to_device(batch.feat_lens_B, batch.inputs.device)
        if batch.encoded:
            return batch.inputs, feat_lens_B
        assert self.encoder is not None, "a model without an encoder needs dumped states"
        return self.encoder(batch.inputs, feat_lens_B)

    def _encode_by_length(self, batch: Utterances) -> tuple[Tensor, Tensor]:
        """Return states_BLD and state_lens_B, computed in batches of similar lengths, because padding costs time."""
        state_lens_B = self._state_lens(batch)
        groups = similar_lengths(state_lens_B.tolist(), PADDED_STATES)
        if self.encoder is None or batch.encoded or len(groups) == 1:
            return self.encode(batch)
        states: dict[int, Tensor] = {}
        for places in groups:
            feat_lens_B = batch.feat_lens_B[places]
            states_BLD, _ = self.encoder(batch.inputs[places, : int(feat_lens_B.max())], feat_lens_B)
            states.update(zip(places, states_BLD, strict=True))
        valid = [states[place][:length] for place, length in enumerate(state_lens_B.tolist())]
        return pad_sequence(valid, batch_first=True), state_lens_B

    def connect(self, batch: Utterances) -> ConnectorOutput:
        """Return the speech tokens, and the posteriors of a connector with a CTC head."""
        return self.connector(*self._states(batch))

    def _states(self, batch: Utterances, *, by_length: bool = False) -> tuple[Tensor, Tensor]:
        """Return states_BLD in the connector's type, and state_lens_B.

        Args:
            batch: utterances.
            by_length: whether to encode utterances in batches of similar lengths, which is faster on a CPU.
        """
        states_BLD, state_lens_B = self._encode_by_length(batch) if by_length else self.encode(batch)
        dtype = next(self.connector.parameters()).dtype  # type: ignore[attr-defined]
        return states_BLD.to(dtype), state_lens_B

    def prompts(
        self, batch: Utterances, output: ConnectorOutput, epoch: int | None = None, contexts: list[str] | None = None
    ) -> list[Tensor]:
        """Return the prompt embeddings (U, E) of each utterance, speech tokens included.

        Args:
            batch: utterances.
            output: their speech tokens.
            epoch: epoch of training; None in decoding.
            contexts: contexts to use instead of those of the batch.
        """
        nothing = [""] * len(batch.utt_ids)
        contexts = batch.contexts if contexts is None else contexts
        utts = zip(batch.utt_ids, contexts or nothing, batch.languages or nothing, strict=True)
        parts = [self.prompt.parts(utt_id, epoch, context, language) for utt_id, context, language in utts]
        before = self._embed([ids for ids, _ in parts], output.embeds_BSE.device)
        after = self._embed([ids for _, ids in parts], output.embeds_BSE.device)
        return splice(before, output.embeds_BSE, self._speech_lens(batch, output), after)

    def _speech_lens(self, batch: Utterances, output: ConnectorOutput) -> list[int]:
        """Return the number of speech tokens of each utterance.

        If the number depends on posteriors, the CPU waits here for the encoder and the connector.
        """
        if not self.connector.exact_lengths:
            return output.speech_lens_B.tolist()  # type: ignore[no-any-return]
        return self.connector.output_lengths(self._state_lens(batch)).tolist()  # type: ignore[no-any-return]

    def _state_lens(self, batch: Utterances) -> Tensor:
        """Return the number of valid states of each utterance, on the CPU."""
        if batch.encoded:
            return batch.feat_lens_B
        assert self.encoder is not None
        return self.encoder.output_lengths(batch.feat_lens_B)

    def speech_tokens(self, lens_B: Tensor) -> Tensor:
        """Return ``Connector.output_lengths`` for each length of the inputs, in frames or dumped states."""
        state_lens_B = lens_B if self.encoder is None else self.encoder.output_lengths(lens_B)
        return self.connector.output_lengths(state_lens_B)

    def count_targets(self, texts: list[str], objective: Objective = "llm") -> Targets:
        """Return the numbers of targets in transcripts for the loss of ``forward``."""
        tokens = sum(len(self.decoder.tokenize(text, end=True)) for text in texts) if objective == "llm" else 0
        units = 0
        if self.connector.subwords is not None:
            units = count_units(self.connector.subwords, texts)
        elif objective == "ctc":
            units = sum(max(1, len(self.decoder.tokenize(text))) for text in texts)
        return Targets(tokens, units)

    def forward(self, batch: Utterances, objective: Objective = "llm", per: Targets | None = None) -> LossOutput:
        """Return the LLM's loss of ``batch``, or the CTC loss, which needs no pass through the LLM.

        In training, the loss of the connector's CTC head is added to the LLM's loss with the weight ``ctc_weight``.

        Args:
            batch: utterances and their transcripts.
            objective: loss to compute.
            per: divisors of the summed losses; None: the numbers of targets in the batch.
        """
        counts = self.count_targets(batch.texts, objective) if per is None or objective == "ctc" else per
        per = per or counts
        if objective == "ctc":
            loss, work = self._ctc_loss(batch)
            return LossOutput(loss / per.units, None, int(counts.units), work)
        if not self.training or self.connector.subwords is None:
            return self._llm_loss(batch, self.connect(batch), per)
        output, ctc_loss = self.connector.with_ctc_loss(*self._states(batch), batch.texts)
        result = self._llm_loss(batch, output, per)
        return result._replace(loss=result.loss + self.connector.ctc_weight * ctc_loss / per.units)

    def _ctc_loss(self, batch: Utterances) -> tuple[Tensor, Work]:
        """Return the summed CTC loss of the transcripts, and the sizes of its computation."""
        state_lens_B = self._state_lens(batch)
        states = int(state_lens_B.sum())
        if self.connector.subwords is not None:
            work = Work(states, int(self.connector.output_lengths(state_lens_B).sum()))
            return self.connector.ctc_loss(*self._states(batch), batch.texts), work
        assert self.ctc_head is not None, "call add_ctc_head first"
        output = self.connect(batch)
        return self.ctc_head(output, batch.texts, self.decoder), Work(states, output.embeds_BSE.shape[:2].numel())

    def _llm_loss(self, batch: Utterances, output: ConnectorOutput, per: Targets) -> LossOutput:
        """Return the LLM's loss of the transcripts, given prompts with the speech tokens of ``output``."""
        prompts = self.prompts(batch, output, batch.epoch)
        ids = [self.decoder.tokenize(text, end=True) for text in batch.texts]
        spliced = with_targets(prompts, ids, self._embed(ids, prompts[0].device))
        select_BU = spliced.labels_BU >= 0
        logits_UV = self.decoder.logits(spliced.embeds_BUE, spliced.mask_BU, select_BU).float()
        labels_U = to_device(spliced.labels_BU[select_BU], logits_UV.device)
        correct = (logits_UV.detach().argmax(-1) == labels_U).sum()
        loss = cross_entropy(logits_UV, labels_U, reduction="sum") / per.tokens
        tokens = int(spliced.mask_BU.sum())
        texts = sum(len(one) for one in ids)
        work = Work(
            states=int(self._state_lens(batch).sum()),
            speech_tokens=output.embeds_BSE.shape[:2].numel(),
            llm_tokens=tokens,
            llm_positions=tokens if self.decoder.packs else spliced.mask_BU.numel(),
        )
        return LossOutput(loss, correct, texts, work)

    @torch.inference_mode()
    def generate(
        self, batch: Utterances, max_new_tokens: list[int], options: GenerationOptions, state_rate: float | None = None
    ) -> list[list[Hypothesis]]:
        """Return the n-best hypotheses of each utterance.

        Args:
            batch: utterances.
            max_new_tokens: largest number of tokens of each utterance.
            options: options of the search.
            state_rate: encoder states per second, for word times of the best hypotheses, which need a CTC head; None:
                without word times.
        """
        states_BLD, state_lens_B = self._states(batch, by_length=batch.inputs.device.type == "cpu")
        output = self.connector(states_BLD, state_lens_B)
        rescores = options.rescoring_weight > 0 and options.num_beams > 1
        search = replace(options, nbest=options.num_beams) if rescores else options
        found = self._search(batch, output, max_new_tokens, search)
        if rescores:
            texts = [[one.text for one in nbest] for nbest in found]
            log_probs = self.connector.log_probs(states_BLD, state_lens_B, texts)
            found = [_rescored(*one, options)[: options.nbest] for one in zip(found, log_probs, strict=True)]
        if state_rate is not None and output.posteriors is not None:
            found = _with_word_times(found, output.posteriors, state_rate)
        return found

    def _search(
        self, batch: Utterances, output: ConnectorOutput, max_new_tokens: list[int], options: GenerationOptions
    ) -> list[list[Hypothesis]]:
        """Return the n-best hypotheses of the LLM, or of joint decoding."""
        if output.posteriors is None:
            return self.decoder.generate(self.prompts(batch, output), max_new_tokens, options)
        contexts = batch.contexts
        if contexts and options.hot_word_distance is not None:
            contexts = choose_hot_words(contexts, output.posteriors, options.hot_word_distance)
        prompts = self.prompts(batch, output, contexts=contexts)
        confident = (confidence(output.posteriors) >= options.ctc_confidence).nonzero()[:, 0]
        posteriors = output.posteriors.select(confident)
        empty = Hypothesis(text="", score=0.0, num_tokens=0, truncated=False)
        found = [[empty] * options.nbest for _ in prompts]
        places = confident.tolist()
        if places:
            chosen = [prompts[place] for place in places], [max_new_tokens[place] for place in places]
            for place, nbest in zip(places, self.decoder.generate(*chosen, options, posteriors), strict=True):
                found[place] = nbest
        return found

    def _embed(self, ids: list[list[int]], device: torch.device) -> list[Tensor]:
        """Embed several token sequences with one look-up."""
        flat = torch.tensor([i for one in ids for i in one], dtype=torch.long)
        return list(self.decoder.embed(to_device(flat, device)).split([len(one) for one in ids]))


def _rescored(nbest: list[Hypothesis], log_probs: list[float] | None, options: GenerationOptions) -> list[Hypothesis]:
    """Return the n-best hypotheses with their scores interpolated with log-probabilities of their texts, best first.

    Args:
        nbest: hypotheses of an utterance.
        log_probs: their log-probabilities by the connector; None: the scores are not changed.
        options: options of the search; log-probabilities are divided by the same power of the length as scores.
    """
    if log_probs is None:
        return nbest
    weight = options.rescoring_weight
    joined = []
    for one, log_prob in zip(nbest, log_probs, strict=True):
        other = log_prob / max(1, one.num_tokens) ** options.length_penalty
        joined.append(replace(one, score=(1 - weight) * one.score + weight * other))
    return sorted(joined, key=lambda one: -one.score)


def _with_word_times(
    found: list[list[Hypothesis]], posteriors: Posteriors, state_rate: float
) -> list[list[Hypothesis]]:
    """Return the n-best hypotheses with word times in the best one of each utterance."""
    timed = []
    for utt, (nbest, length) in enumerate(zip(found, posteriors.stacked_lens_B.tolist(), strict=True)):
        states_M = None if posteriors.states_BM is None else posteriors.states_BM[utt].tolist()
        duration = posteriors.stack / state_rate
        log_probs_MC = posteriors.log_probs_BMC[utt, :length]
        words = align_words(nbest[0].text, log_probs_MC, posteriors.subwords, duration, states_M)
        timed.append([replace(nbest[0], words=words), *nbest[1:]])
    return timed

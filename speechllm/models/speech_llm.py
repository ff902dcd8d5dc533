"""The whole model: encode, connect, splice into the prompt, and let the LLM read on (arXiv 2309.13963)."""

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from speechllm.interfaces import (
    Connector,
    Decoder,
    Encoder,
    GenerationOptions,
    Hypothesis,
    Speller,
    Spelt,
    TableReader,
    Utterances,
)
from speechllm.models.ctc import CTC, EmbeddingCTC
from speechllm.models.prompt import Prompt, PromptConfig
from speechllm.models.splice import splice, with_targets

Speech: TypeAlias = tuple[Tensor, Tensor]
"""Speech tokens embeds_BSE and their lens_B."""


class Targets(NamedTuple):
    """Numbers of targets of a loss."""

    tokens: float
    """Target tokens of the LLM's loss, end-of-sequence included."""
    units: float
    """Text units of the CTC loss, at least one per utterance; 0 without such a loss."""


class LossOutput(NamedTuple):
    """Loss and counts of one batch."""

    loss: Tensor
    """Nats per target: cross entropy, CTC loss, or their weighted sum."""
    num_correct: Tensor | None
    """Target tokens whose logit is the largest; None of CTC, which predicts no token in its place."""
    num_tokens: Tensor
    """Target tokens; of CTC, at least one an utterance."""


class SpeechLLM(nn.Module):
    """A speech encoder connected to an LLM.

    Args:
        encoder: None for a model that only ever sees dumped encoder states.
        connector: built for the encoder's states and the decoder's embeddings.
        decoder: the LLM.
        prompt: template and instructions.
    """

    def __init__(self, encoder: Encoder | None, connector: Connector, decoder: Decoder, prompt: PromptConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector
        self.decoder = decoder
        self.prompt = Prompt(prompt, decoder)
        if isinstance(connector, TableReader):
            connector.read_table(decoder.table)
        if isinstance(connector, Speller):
            connector.read_decoder(decoder)

    def encode(self, batch: Utterances) -> tuple[Tensor, Tensor]:
        """Return states_BLD and lens_B, from features or as they were dumped."""
        if batch.encoded:
            return batch.inputs, batch.lens_B
        assert self.encoder is not None, "a model built without an encoder reads dumped states only"
        return self.encoder(batch.inputs, batch.lens_B)

    def states(self, batch: Utterances) -> tuple[Tensor, Tensor]:
        """Return what the connector reads: the states in its precision, and lens_B."""
        states_BLD, lens_B = self.encode(batch)
        dtype = next(self.connector.parameters()).dtype  # type: ignore[attr-defined]
        return states_BLD.to(dtype), lens_B

    def speech_tokens(self, batch: Utterances) -> tuple[Tensor, Tensor]:
        """Return what the connector makes of the speech: embeds_BSE and lens_B."""
        return self.connector(*self.states(batch))

    def prompts(self, batch: Utterances, epoch: int | None = None, speech: Speech | None = None) -> list[Tensor]:
        """Return the prompt embeddings (U, E) of each utterance, its speech in place."""
        speech_BSE, lens_B = speech or self.speech_tokens(batch)
        parts = [self.prompt.parts(utt_id, epoch) for utt_id in batch.utt_ids]
        before = self._embed([ids for ids, _ in parts], speech_BSE.device)
        after = self._embed([ids for _, ids in parts], speech_BSE.device)
        return splice(before, speech_BSE, lens_B, after)

    def count_targets(self, texts: list[str], ctc: CTC | None = None) -> Targets:
        """Return the number of targets in transcripts, for the loss that ``forward`` computes with ``ctc``."""
        tokens = units = 0
        if ctc is None:
            tokens = sum(len(self.decoder.tokenize(text, end=True)) for text in texts)
        if isinstance(ctc, EmbeddingCTC):
            units = sum(max(1, len(self.decoder.tokenize(text))) for text in texts)
        elif isinstance(self.connector, Speller):
            units = self.connector.count_units(texts)
        return Targets(tokens, units)

    def forward(self, batch: Utterances, ctc: CTC | None = None, per: Targets | None = None) -> LossOutput:
        """Return the LLM's loss on the transcripts of ``batch``, or that of ``ctc``, which needs no LLM.

        In training, a connector with a CTC loss of its own adds it to the LLM's.

        Args:
            batch: utterances and their transcripts.
            ctc: loss of the first training steps; None: the LLM's.
            per: numbers of targets by which the summed losses are divided; None: those of the batch.
        """
        per = per or self.count_targets(batch.texts, ctc)
        if isinstance(ctc, EmbeddingCTC):
            texts = [self.decoder.tokenize(text) for text in batch.texts]
            loss = ctc(*self.speech_tokens(batch), texts, self.decoder) / per.units
            return LossOutput(loss, None, torch.tensor(sum(max(1, len(ids)) for ids in texts)))
        if not isinstance(self.connector, Speller):
            return self._llm_loss(batch, self.speech_tokens(batch), per)
        heard = self.connector.hear(*self.states(batch))
        if ctc is not None:
            loss = self.connector.loss(heard, batch.texts) / per.units
            return LossOutput(loss, None, torch.tensor(self.connector.count_units(batch.texts)))
        output = self._llm_loss(batch, self.connector.embed(heard), per)
        if not self.training:
            return output
        ctc_loss = self.connector.loss(heard, batch.texts) / per.units
        return output._replace(loss=output.loss + self.connector.ctc_weight * ctc_loss)

    def _llm_loss(self, batch: Utterances, speech: Speech, per: Targets) -> LossOutput:
        """Return the LLM's loss on the transcripts after prompts with ``speech`` in them."""
        prompts = self.prompts(batch, batch.epoch, speech)
        ids = [self.decoder.tokenize(text, end=True) for text in batch.texts]
        targets = [torch.tensor(one, device=prompts[0].device) for one in ids]
        spliced = with_targets(prompts, targets, self._embed(ids, prompts[0].device))
        select_BU = spliced.labels_BU >= 0
        logits_UV = self.decoder.logits(spliced.embeds_BUE, spliced.mask_BU, select_BU).float()
        labels_U = spliced.labels_BU[select_BU]
        correct = (logits_UV.detach().argmax(-1) == labels_U).sum()
        loss = cross_entropy(logits_UV, labels_U, reduction="sum") / per.tokens
        return LossOutput(loss, correct, torch.tensor(len(labels_U)))

    @torch.inference_mode()
    def generate(self, batch: Utterances, caps: list[int], options: GenerationOptions) -> list[list[Hypothesis]]:
        """Return the n-best hypotheses of each utterance, of at most ``caps`` tokens each."""
        if not isinstance(self.connector, Speller):
            return self.decoder.generate(self.prompts(batch), caps, options)
        heard = self.connector.hear(*self.states(batch))
        spelt = self.connector.spelt(heard)
        prompts = self.prompts(batch, speech=self.connector.embed(heard))
        said = (confidence(spelt) >= options.ctc_confidence).nonzero()[:, 0]
        places = said.tolist()
        spelt = spelt._replace(log_probs_BMC=spelt.log_probs_BMC[said], lens_B=spelt.lens_B[said])
        nothing = Hypothesis(text="", score=0.0, num_tokens=0, truncated=False)
        found = [[nothing] * options.nbest for _ in prompts]
        if places:
            chosen = [prompts[place] for place in places], [caps[place] for place in places]
            for place, nbest in zip(places, self.decoder.generate(*chosen, options, spelt), strict=True):
                found[place] = nbest
        return found

    def _embed(self, ids: list[list[int]], device: torch.device) -> list[Tensor]:
        """Embed several token sequences with one look-up."""
        flat = torch.tensor([i for one in ids for i in one], dtype=torch.long, device=device)
        return list(self.decoder.embed(flat).split([len(one) for one in ids]))


def confidence(spelt: Spelt) -> Tensor:
    """Return the mean probability (B,) of what is spelt where something is rather than a blank; 0 where nothing is."""
    probs_BM, best_BM = spelt.log_probs_BMC.exp().max(-1)
    places_M = torch.arange(best_BM.shape[1], device=best_BM.device)
    spells_BM = (best_BM > 0) & (places_M < spelt.lens_B[:, None])
    return (probs_BM * spells_BM).sum(1) / spells_BM.sum(1).clamp(min=1)

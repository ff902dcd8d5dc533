"""Any causal language model of Hugging Face transformers: Vicuna, Llama, Qwen, SmolLM2, ...; frozen, or with LoRA."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
)

from speechllm.base_models import load_base, reading
from speechllm.decoders._checks import PROMPT, TOKENS, check_embeddings, check_packing, evaluating
from speechllm.decoders._joint_search import JointSearch
from speechllm.decoders._lora import LoraOptions, merged, with_lora
from speechllm.decoders._packing import PACKED, positions
from speechllm.decoders._recompute import recomputed_layers
from speechllm.decoders._sizes import check_ids, check_vocabulary, position_limit
from speechllm.decoders._subwords import SubwordUnits
from speechllm.decoders._text import chat_text, text_tokenizer
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions, Hypothesis, Posteriors

NOT_IN_TEXTS = {code: None for code in (*range(32), *range(127, 160)) if not chr(code).isspace()}
"""Control characters, which an LLM can generate and a line of text cannot hold."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which LLM, and whether it is adapted."""

    path: str
    """Hub id or local directory of a causal language model."""
    lora: LoraOptions | None = None
    """LoRA adapters; null leaves the LLM frozen."""
    tokenizer: str | None = None
    """Hub id or local directory of the tokenizer; null: the LLM's own."""

    def build(self, dtype: torch.dtype = torch.float32) -> "CausalLM":
        """Load weights and tokenizer.

        Raises:
            ConfigError: if ``path`` is no directory and no model of the hub, or its files lack weights.
        """
        model = load_base(
            transformers.AutoModelForCausalLM, self.path, dtype, option="decoder.path", kind="a causal LM"
        )
        option, place = ("decoder.tokenizer", self.tokenizer) if self.tokenizer else ("decoder.path", self.path)
        with reading(option, place, "a tokenizer"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        return CausalLM(model, tokenizer, self.lora)


class CausalLM(nn.Module):
    """The LLM, its tokenizer, and its adapters if any.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        lora: adapters to add, or None.
    """

    def __init__(self, model: Any, tokenizer: Any, lora: LoraOptions | None = None) -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise ConfigError("decoder.path: the tokenizer has no end-of-sequence token, which ends every transcript")
        self.num_embeddings: int = model.get_input_embeddings().num_embeddings
        check_vocabulary(tokenizer, self.num_embeddings)
        # the model's own sampling defaults (temperature, top_p, ...) have no place in recognition
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,  # generation only fills finished hypotheses with it
        )
        model.requires_grad_(False)
        self.embedding_dim: int = model.get_input_embeddings().embedding_dim
        self.tokenizer = tokenizer
        self.has_lora = lora is not None
        self.packs = False
        self.max_positions = position_limit(model)
        self._text_ids = text_tokenizer(tokenizer)
        self._recomputed: list[nn.Module] = []
        self._checked: set[str] = set()
        self._own_attention: str = model.config._attn_implementation
        self.model = model if lora is None else with_lora(model, lora)

    def train(self, mode: bool = True) -> "CausalLM":
        """Keep a frozen LLM in evaluation mode, except for layers that recompute activations, which need training's."""
        super().train(mode and self.has_lora)
        for layer in self._recomputed:
            layer.training = mode
        return self

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass: less memory, about a third more time."""
        try:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:
            raise ConfigError(f"train.activation_checkpointing: {error}; set it to false") from error
        if not self.has_lora:
            self._recomputed = recomputed_layers(self.model)

    def pack_sequences(self) -> None:
        """Have ``logits`` lay the sequences of a batch one behind the other instead of padding them.

        Raises:
            ConfigError: if the LLM then computes something else.
        """
        self.packs = True
        self.check()

    def check(self) -> None:
        """Make sure, the first time, that the LLM scores embeddings as their tokens, and packed as padded sequences.

        Called before the first use, where the LLM lies then.

        Raises:
            ConfigError: if it does not.
        """
        ids_U = torch.tensor((self.tokenize(PROMPT, begin=True) * TOKENS)[:TOKENS], device=self.model.device)
        if "embeddings" not in self._checked:
            self._attend_by(self._own_attention)
            with evaluating(self):
                check_embeddings(self.model, self.embed, ids_U)
            self._checked.add("embeddings")
        if self.packs and "packing" not in self._checked:
            with evaluating(self):
                check_packing(self._logits, self.model.config.model_type, self.embed(ids_U))
            self._checked.add("packing")

    def merge_adapters(self) -> None:
        """Add adapters, if there are any, to the weights that they adapt: faster, and no longer to be trained."""
        if self.has_lora:
            self.model, self.has_lora = merged(self.model), False

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer, with its chat template, in Hugging Face's form."""
        self.tokenizer.save_pretrained(folder)

    def tokenize(self, text: str, *, begin: bool = False, end: bool = False, special: bool = False) -> list[int]:
        """Return token ids, with the tokenizer's own beginning where asked and its end-of-sequence token.

        Args:
            text: a text.
            begin: add the tokenizer's beginning-of-sequence token, if it has one.
            end: add its end-of-sequence token.
            special: read the names of special tokens in ``text`` as these tokens, as in prompts.
        """
        if special:
            ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=False).input_ids
            check_ids(ids, self.tokenizer, self.num_embeddings)
        else:
            ids = self._text_ids(text)
        starts_with_bos = begin and self.tokenizer("a").input_ids[:1] == [self.tokenizer.bos_token_id]
        return [self.tokenizer.bos_token_id] * starts_with_bos + ids + [self.tokenizer.eos_token_id] * end

    def subword_units(self, merges: int) -> SubwordUnits:
        """Return the subword units that the first ``merges`` BPE merges of the tokenizer define."""
        return SubwordUnits(self.tokenizer, merges)

    def chat(self, message: str) -> str:
        """Return ``message`` as the user's turn of the chat template, up to the assistant's answer."""
        return chat_text(self.tokenizer, message)

    def embed(self, ids_U: Tensor) -> Tensor:
        """Return the embeddings (U, E) of token ids."""
        return self.model.get_input_embeddings()(ids_U)

    def embedding_matrix(self) -> Tensor:
        """Return the embedding matrix (V, E) by a look-up, which gathers it where ZeRO has split it up."""
        embedding = self.model.get_input_embeddings()
        return embedding(torch.arange(embedding.num_embeddings, device=embedding.weight.device))

    def logits(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor) -> Tensor:
        """Return the next-token logits (selected positions, V), computing the output layer for little else."""
        self.check()
        self._check_length(embeds_BUE.shape[1])
        return self._logits(embeds_BUE, mask_BU, select_BU, packed=self.packs)

    def _logits(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor, *, packed: bool) -> Tensor:
        self._attend_by(PACKED if packed else self._own_attention)
        if packed:
            lens = mask_BU.sum(1).tolist()
            kept_U = select_BU[mask_BU].nonzero()[:, 0]
            return self.model(
                inputs_embeds=embeds_BUE[mask_BU][None],
                position_ids=positions(lens, embeds_BUE.device),
                packed_lens=lens,
                logits_to_keep=kept_U,
                use_cache=False,
            ).logits[0]
        columns_U = select_BU.any(0).nonzero()[:, 0]
        logits_BUV = self.model(
            inputs_embeds=embeds_BUE, attention_mask=mask_BU.long(), logits_to_keep=columns_U, use_cache=False
        ).logits
        return logits_BUV[select_BU[:, columns_U]]

    def _check_length(self, length: int) -> None:
        """Refuse a sequence that has more tokens than the LLM has positions."""
        if self.max_positions is not None and length > self.max_positions:
            raise ConfigError(
                f"decoder.path: found a sequence of {length} tokens of prompt, speech and text, but the LLM has "
                f"{self.max_positions} positions; shorten the speech (data.max_duration) or its tokens "
                "(connector), or choose another LLM"
            )

    def _attend_by(self, implementation: str) -> None:
        if self.model.config._attn_implementation != implementation:
            self.model.set_attn_implementation(implementation)

    def generate(
        self,
        prompts: list[Tensor],
        max_new_tokens: list[int],
        options: GenerationOptions,
        posteriors: Posteriors | None = None,
    ) -> list[list[Hypothesis]]:
        """Continue each prompt (U, E) by at most its ``max_new_tokens``; return the n-best, best first.

        Prompts are padded on the left, and every one has its own limit, so that a hypothesis does not
        depend on its batch mates. With ``posteriors`` and ``options.ctc_weight``, CTC scores each token too.
        An LLM with a limited number of positions generates no tokens beyond them.
        """
        self.check()
        if self.max_positions is not None:
            for prompt in prompts:
                self._check_length(len(prompt) + 1)
            if len(prompts) > 1 and max(map(len, prompts)) + max(max_new_tokens) > self.max_positions:
                return self._generate_each(prompts, max_new_tokens, options, posteriors)
            pairs = zip(prompts, max_new_tokens, strict=True)
            max_new_tokens = [min(limit, self.max_positions - len(prompt)) for prompt, limit in pairs]
        self._attend_by(self._own_attention)
        embeds_BUE = pad_sequence(prompts, batch_first=True, padding_side="left")
        lens_B = torch.tensor([len(prompt) for prompt in prompts], device=embeds_BUE.device)
        positions_U = torch.arange(embeds_BUE.shape[1], device=lens_B.device)
        mask_BU = positions_U >= embeds_BUE.shape[1] - lens_B[:, None]
        search = _Search(max_new_tokens, self.tokenizer.eos_token_id, options, embeds_BUE.device)
        output = self.model.generate(
            inputs_embeds=embeds_BUE,
            attention_mask=mask_BU.long(),
            generation_config=search.config(),
            logits_processor=search.processors(posteriors),
        )
        greedy = options.num_beams == 1
        scores = search.greedy_scores() if greedy else output.sequences_scores
        log_probs = search.greedy_log_probs() if greedy else self._log_probs_of_beams(output)
        rows = zip(output.sequences.tolist(), scores.tolist(), log_probs.tolist(), strict=True)
        return [[self._hypothesis(*next(rows), limit) for _ in range(options.nbest)] for limit in max_new_tokens]

    def _generate_each(
        self,
        prompts: list[Tensor],
        max_new_tokens: list[int],
        options: GenerationOptions,
        posteriors: Posteriors | None,
    ) -> list[list[Hypothesis]]:
        """Continue each prompt alone, because in a batch all go on as long as the one with the largest limit."""
        found = []
        for k, (prompt, limit) in enumerate(zip(prompts, max_new_tokens, strict=True)):
            alone = posteriors and posteriors._replace(
                log_probs_BMC=posteriors.log_probs_BMC[k : k + 1], stacked_lens_B=posteriors.stacked_lens_B[k : k + 1]
            )
            found += self.generate([prompt], [limit], options, alone)
        return found

    def _log_probs_of_beams(self, output: Any) -> Tensor:
        """Return the log-probability of each token (R, U) of the hypotheses that beam search returns."""
        return self.model.compute_transition_scores(
            output.sequences, output.scores, output.beam_indices, normalize_logits=False
        )

    def _hypothesis(self, ids: list[int], score: float, log_probs: list[float], max_new_tokens: int) -> Hypothesis:
        eos = self.tokenizer.eos_token_id
        ids = ids[: ids.index(eos)] if eos in ids else ids
        # What tokens add to the text is known only from longer and longer texts: some share a character.
        raw = (self.tokenizer.decode(ids[:end], skip_special_tokens=True) for end in range(len(ids) + 1))
        texts = [text.translate(NOT_IN_TEXTS) for text in raw]
        whole = [text.rstrip("\ufffd") for text in texts[:-1]]
        pieces = [longer[len(shorter) :] for shorter, longer in itertools.pairwise([*whole, texts[-1]])]
        return Hypothesis(
            text=" ".join(texts[-1].split()),
            score=score,
            num_tokens=len(ids),
            truncated=len(ids) >= max_new_tokens,
            tokens=list(zip(pieces, log_probs, strict=False)),
        )


class _Search(LogitsProcessor):
    """Each utterance's own ``max_new_tokens`` within a batch, and the score of greedy search.

    Rows R are the beams of each utterance in turn.
    """

    def __init__(self, max_new_tokens: list[int], eos: int, options: GenerationOptions, device: torch.device) -> None:
        self.options = options
        self.eos = eos
        self.longest_limit = max(max_new_tokens)
        self.max_new_tokens_R = torch.tensor(max_new_tokens, device=device).repeat_interleave(options.num_beams)
        self.log_prob_R = torch.zeros(len(self.max_new_tokens_R), device=device)
        self.lens_R = torch.zeros(len(self.max_new_tokens_R), device=device)
        self._log_probs: list[Tensor] = []

    def config(self) -> GenerationConfig:
        """Return what transformers is to do: search, never sample."""
        options = self.options
        return GenerationConfig(
            do_sample=False,
            max_new_tokens=self.longest_limit + 1,
            num_beams=options.num_beams,
            num_return_sequences=options.nbest,
            length_penalty=options.length_penalty if options.num_beams > 1 else 1.0,  # else transformers warns
            early_stopping=False,
            return_dict_in_generate=True,
            output_scores=options.num_beams > 1,
        )

    def processors(self, posteriors: Posteriors | None) -> LogitsProcessorList:
        """Return what changes the logits of each step, the limit last.

        The penalties are not left to the generation's configuration, from which transformers would
        spare as many of the first tokens as the prompt has padding.
        """
        found = LogitsProcessorList()
        if self.options.no_repeat_ngram > 0:
            found.append(NoRepeatNGramLogitsProcessor(self.options.no_repeat_ngram))
        if posteriors is not None and self.options.ctc_weight > 0:
            found.append(JointSearch(posteriors, self.options, self.eos))
        return LogitsProcessorList([*found, self])

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Allow nothing but the end where ``max_new_tokens`` are reached."""
        at_limit_R = self.max_new_tokens_R <= input_ids.shape[1]
        only_end_RV = torch.full_like(scores, float("-inf"))
        only_end_RV[:, self.eos] = scores[:, self.eos]
        if self.options.num_beams == 1:
            best_R = scores.float().log_softmax(-1).amax(-1)
            running_R = ~at_limit_R & (input_ids != self.eos).all(1)
            self._log_probs.append(best_R)
            self.log_prob_R += torch.where(running_R, best_R, 0.0)
            self.lens_R += running_R
        return torch.where(at_limit_R[:, None], only_end_RV, scores)

    def greedy_scores(self) -> Tensor:
        """Return the log-probability of each row, divided by its length as beam search does."""
        return self.log_prob_R / self.lens_R.clamp(min=1) ** self.options.length_penalty

    def greedy_log_probs(self) -> Tensor:
        """Return the log-probability of each token (R, U), of no meaning behind the end of a row."""
        return torch.stack(self._log_probs, 1)

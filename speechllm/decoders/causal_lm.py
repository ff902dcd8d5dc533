"""Any causal language model of Hugging Face transformers: Vicuna, Llama, Qwen, SmolLM2, ...; frozen, or with LoRA."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationConfig

from speechllm.base_models import load_base, reading
from speechllm.decoders._checks import PROMPT, TOKENS, check_embeddings, check_packing, evaluating
from speechllm.decoders._compiled import CompiledSteps
from speechllm.decoders._draft import ctc_drafts
from speechllm.decoders._lora import LoraOptions, merged, with_lora
from speechllm.decoders._packing import PACKED, Packed
from speechllm.decoders._recompute import compile_recomputed, recomputed_layers
from speechllm.decoders._search import Found, Search
from speechllm.decoders._sizes import check_ids, check_vocabulary, position_limit
from speechllm.decoders._subwords import SubwordUnits
from speechllm.decoders._text import chat_text, text_tokenizer
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions, Hypothesis, Posteriors
from speechllm.layers import repeated_layers
from speechllm.transfer import to_device

logger = logging.getLogger(__name__)
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
        self._compiles = False
        self._compiled: CompiledSteps | None = None
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
        self._recomputed = recomputed_layers(self.model, evaluates=not self.has_lora)

    def pack_sequences(self) -> None:
        """Have ``logits`` lay the sequences of a batch one behind the other instead of padding them.

        Raises:
            ConfigError: if the LLM then computes something else.
        """
        self.packs = True
        self.check()

    def compile_layers(self, backend: Callable[..., Any]) -> None:
        """Compile every layer, for all shapes, by a backend of ``torch.compile``."""
        compile_recomputed(self._recomputed, backend)
        for layer in repeated_layers(self.model):
            if layer not in self._recomputed:
                layer.compile(dynamic=True, backend=backend)

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
                check_embeddings(self._causal_lm(), self.embed, ids_U)
            self._checked.add("embeddings")
        if self.packs and "packing" not in self._checked:
            with evaluating(self):
                check_packing(self._logits, self.model.config.model_type, self.embed(ids_U))
            self._checked.add("packing")

    def compile_steps(self) -> None:
        """Have ``generate`` compile the LLM's step of one token for each row of a search."""
        self._compiles = True

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
        """Return what ``logits`` does; all indices are computed on the CPU, for which no kernel has to end."""
        self._attend_by(PACKED if packed else self._own_attention)
        device, mask_BU, select_BU = embeds_BUE.device, mask_BU.cpu(), select_BU.cpu()
        if packed:
            places_U, sequences = mask_BU.flatten().nonzero()[:, 0], Packed(mask_BU.sum(1).tolist(), device)
            # transformers reads from the device whether positions are of one sequence: a wait for the connector
            return self.model(
                inputs_embeds=embeds_BUE.flatten(0, 1).index_select(0, to_device(places_U, device))[None],
                position_ids=sequences.positions(),
                packed=sequences,
                logits_to_keep=to_device(select_BU[mask_BU].nonzero()[:, 0], device),
                use_cache=False,
            ).logits[0]
        columns_U = select_BU.any(0).nonzero()[:, 0]
        logits_BUV = self.model(
            inputs_embeds=embeds_BUE,
            attention_mask=to_device(mask_BU.long(), device),
            logits_to_keep=to_device(columns_U, device),
            use_cache=False,
        ).logits
        places_U = select_BU[:, columns_U].flatten().nonzero()[:, 0]
        return logits_BUV.flatten(0, 1).index_select(0, to_device(places_U, device))

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
            left = [self.max_positions - len(prompt) for prompt in prompts]
            max_new_tokens = [min(pair) for pair in zip(max_new_tokens, left, strict=True)]
        self._attend_by(self._own_attention)
        drafts = None
        if options.speculative and options.num_beams == 1 and posteriors is not None:
            drafts = ctc_drafts(posteriors, self.tokenizer, self.tokenize)
        found = self._search(prompts, max_new_tokens, options, posteriors, drafts)
        return [
            [self._hypothesis(one, limit) for one in nbest] for nbest, limit in zip(found, max_new_tokens, strict=True)
        ]

    def _causal_lm(self) -> Any:
        """Return the causal LM, without peft's wrapper of a model with adapters."""
        return self.model.get_base_model() if self.has_lora else self.model

    def _search(self, *arguments: Any) -> list[list[Found]]:
        """Search with compiled steps if they are asked for; if they fail, with the LLM as it is, now and later."""
        model = self._causal_lm()
        if self._compiles and (self._compiled is None or self._compiled.model is not model):
            self._compiled = CompiledSteps(model)
        search = Search(model, self.embed, self.tokenizer.eos_token_id, self._compiled)
        try:
            return search(*arguments)
        except Exception as error:  # compilers fail by errors of every class
            if self._compiled is None or isinstance(error, torch.OutOfMemoryError):
                raise
            self._compiles, self._compiled = False, None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning("decode.compile: the LLM's step cannot be compiled, decoding goes on without: %s", reason)
        return replace(search, compiled=None)(*arguments)

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

    def _hypothesis(self, found: Found, max_new_tokens: int) -> Hypothesis:
        eos = self.tokenizer.eos_token_id
        ids = found.ids[: found.ids.index(eos)] if eos in found.ids else found.ids
        # What tokens add to the text is known only from longer and longer texts: some share a character.
        raw = (self.tokenizer.decode(ids[:end], skip_special_tokens=True) for end in range(len(ids) + 1))
        texts = [text.translate(NOT_IN_TEXTS) for text in raw]
        whole = [text.rstrip("\ufffd") for text in texts[:-1]]
        pieces = [longer[len(shorter) :] for shorter, longer in itertools.pairwise([*whole, texts[-1]])]
        return Hypothesis(
            text=" ".join(texts[-1].split()),
            score=found.score,
            num_tokens=len(ids),
            truncated=len(ids) >= max_new_tokens,
            tokens=list(zip(pieces, found.log_probs, strict=False)),
            drafted=found.drafted,
            accepted=found.accepted,
        )

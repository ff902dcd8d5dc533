"""Causal language models of Hugging Face transformers (Vicuna, Llama, Qwen, SmolLM2, ...), frozen or with LoRA."""

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
from speechllm.decoders._packing import PACKED, Packed
from speechllm.decoders._recompute import compile_recomputed, recomputed_layers
from speechllm.decoders._search import Found, Search
from speechllm.decoders._sizes import check_ids, check_vocabulary, position_limit
from speechllm.decoders._subwords import SubwordUnits
from speechllm.decoders._text import chat_text, text_tokenizer
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions, Hypothesis, Posteriors
from speechllm.layers import repeated_layers
from speechllm.lora import LoraOptions, merged, with_lora
from speechllm.transfer import to_device

logger = logging.getLogger(__name__)
NOT_IN_TEXTS = {code: None for code in (*range(32), *range(127, 160)) if not chr(code).isspace()}
"""Control characters, which an LLM can generate and a line of text must not contain."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base model, tokenizer and adapters."""

    path: str
    """Hub id or local directory of a causal language model."""
    lora: LoraOptions | None = None
    """LoRA adapters; null leaves the LLM frozen."""
    tokenizer: str | None = None
    """Hub id or local directory of the tokenizer; null: the LLM's own."""

    def build(self, dtype: torch.dtype = torch.float32) -> "CausalLM":
        """Load weights and tokenizer.

        Raises:
            ConfigError: if ``path`` is neither a directory nor a hub id, or its files lack weights.
        """
        model = load_base(
            transformers.AutoModelForCausalLM, self.path, dtype, option="decoder.path", kind="a causal LM"
        )
        option, place = ("decoder.tokenizer", self.tokenizer) if self.tokenizer else ("decoder.path", self.path)
        with reading(option, place, "a tokenizer"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        return CausalLM(model, tokenizer, self.lora)


class CausalLM(nn.Module):
    """LLM with its tokenizer, and optional adapters.

    Args:
        model: causal language model of transformers.
        tokenizer: tokenizer of the LLM.
        lora: adapters to add; None without adapters.
    """

    def __init__(self, model: Any, tokenizer: Any, lora: LoraOptions | None = None) -> None:
        super().__init__()
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                "decoder.path: found a tokenizer without an end-of-sequence token, expected one, because it ends every "
                "transcript; choose another LLM, or set decoder.tokenizer"
            )
        self.num_embeddings: int = model.get_input_embeddings().num_embeddings
        check_vocabulary(tokenizer, self.num_embeddings)
        # replaces the model's own defaults for sampling (temperature, top_p, ...)
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,  # only pads finished hypotheses
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
        self.model = model if lora is None else with_lora(model, lora, "decoder.lora")

    def train(self, mode: bool = True) -> "CausalLM":
        """Keep a frozen LLM in evaluation mode; only layers that recompute activations are set to ``mode``."""
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
        """Concatenate the sequences of a batch in ``logits`` instead of padding them.

        Raises:
            ConfigError: if this changes the logits of the LLM.
        """
        self.packs = True
        self.check()

    def compile_layers(self, backend: Callable[..., Any]) -> None:
        """Compile every layer for all shapes with a backend of ``torch.compile``."""
        compile_recomputed(self._recomputed, backend)
        for layer in repeated_layers(self.model):
            if layer not in self._recomputed:
                layer.compile(dynamic=True, backend=backend)

    def check(self) -> None:
        """Check on the first call that embeddings as input, and packing, change no logits.

        It is called before the first use of the LLM, on the device of the LLM. Adapters are off: they act on single
        positions, and those of a trained model can enlarge rounding errors of half precision beyond any limit.

        Raises:
            ConfigError: if logits differ from those of token ids or padded sequences.
        """
        ids_U = torch.tensor((self.tokenize(PROMPT, begin=True) * TOKENS)[:TOKENS], device=self.model.device)
        if "embeddings" not in self._checked:
            self._attend_by(self._own_attention)
            with evaluating(self), self._base():
                check_embeddings(self._causal_lm(), self.embed, ids_U)
            self._checked.add("embeddings")
        if self.packs and "packing" not in self._checked:
            with evaluating(self), self._base():
                check_packing(self._logits, self.model.config.model_type, self.embed(ids_U))
            self._checked.add("packing")

    @contextmanager
    def _base(self) -> Iterator[None]:
        """Switch off the adapters, if there are any, within the block."""
        trained = [(one, one.requires_grad) for one in self.model.parameters()]
        with self.model.disable_adapter() if self.has_lora else nullcontext():
            yield
        for one, mode in trained:  # peft makes all adapters trainable when it switches them on
            one.requires_grad_(mode)

    def compile_steps(self) -> None:
        """Enable compilation of the LLM's step of one token per row in ``generate``."""
        self._compiles = True

    def merge_adapters(self) -> None:
        """Add the adapters, if any, to the weights of the LLM: faster, but not trainable."""
        if self.has_lora:
            self.model, self.has_lora = merged(self.model), False

    def save_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer with its chat template in Hugging Face's format."""
        self.tokenizer.save_pretrained(folder)

    def tokenize(self, text: str, *, begin: bool = False, end: bool = False, special: bool = False) -> list[int]:
        """Return token ids, optionally with beginning-of-sequence and end-of-sequence tokens.

        Args:
            text: a text.
            begin: whether to add the tokenizer's beginning-of-sequence token, if it has one.
            end: whether to add the tokenizer's end-of-sequence token.
            special: whether names of special tokens in ``text`` become these tokens, as in prompts.
        """
        if special:
            ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=False).input_ids
            check_ids(ids, self.tokenizer, self.num_embeddings)
        else:
            ids = self._text_ids(text)
        starts_with_bos = begin and self.tokenizer("a").input_ids[:1] == [self.tokenizer.bos_token_id]
        return [self.tokenizer.bos_token_id] * starts_with_bos + ids + [self.tokenizer.eos_token_id] * end

    def subword_units(self, merges: int, lower_case: bool = False) -> SubwordUnits:
        """Return the subword units that the first ``merges`` BPE merges of the tokenizer define."""
        return SubwordUnits(self.tokenizer, merges, lower_case)

    def chat(self, message: str) -> str:
        """Return ``message`` as the user's turn of the chat template, up to the assistant's answer."""
        return chat_text(self.tokenizer, message)

    def embed(self, ids_U: Tensor) -> Tensor:
        """Return the embeddings (U, E) of token ids."""
        return self.model.get_input_embeddings()(ids_U)

    def embedding_matrix(self) -> Tensor:
        """Return the embedding matrix (V, E) by a look-up, which gathers it from all ranks under ZeRO stage 3."""
        embedding = self.model.get_input_embeddings()
        return embedding(torch.arange(embedding.num_embeddings, device=embedding.weight.device))

    def logits(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor) -> Tensor:
        """Return the next-token logits (number of selected positions, V); most other positions are not computed."""
        self.check()
        self._check_length(embeds_BUE.shape[1])
        return self._logits(embeds_BUE, mask_BU, select_BU, packed=self.packs)

    def _logits(self, embeds_BUE: Tensor, mask_BU: Tensor, select_BU: Tensor, *, packed: bool) -> Tensor:
        """Return the logits of packed or padded sequences.

        Indices are computed on the CPU, without waiting for kernels.
        """
        self._attend_by(PACKED if packed else self._own_attention)
        device, mask_BU, select_BU = embeds_BUE.device, mask_BU.cpu(), select_BU.cpu()
        if packed:
            places_U, sequences = mask_BU.flatten().nonzero()[:, 0], Packed(mask_BU.sum(1).tolist(), device)
            # transformers checks positions on the CPU, so the CPU waits for the connector here
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
        """Raise ConfigError for a sequence with more tokens than the LLM has positions."""
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

        Prompts are padded on the left, and each has its own limit, so that a hypothesis does not depend on other
        utterances of the batch. With ``posteriors`` and ``options.ctc_weight``, the score of each token combines the
        LLM and CTC. An LLM with a limited number of positions generates no tokens beyond them.
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
        """Return the causal LM without the wrapper of peft."""
        return self.model.get_base_model() if self.has_lora else self.model

    def _search(self, *arguments: Any) -> list[list[Found]]:
        """Search with compiled steps if enabled; after their first failure, always without compilation."""
        model = self._causal_lm()
        if self._compiles and (self._compiled is None or self._compiled.model is not model):
            self._compiled = CompiledSteps(model)
        search = Search(model, self.embed, self.tokenizer.eos_token_id, self._compiled)
        try:
            return search(*arguments)
        except Exception as error:  # compilers raise errors of every class
            if self._compiled is None or isinstance(error, torch.OutOfMemoryError):
                raise
            self._compiles, self._compiled = False, None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            logger.warning("decode.compile: the LLM's step cannot be compiled, decoding goes on uncompiled: %s", reason)
        return replace(search, compiled=None)(*arguments)

    def _generate_each(
        self,
        prompts: list[Tensor],
        max_new_tokens: list[int],
        options: GenerationOptions,
        posteriors: Posteriors | None,
    ) -> list[list[Hypothesis]]:
        """Continue each prompt separately, because in a batch all rows need positions for the largest limit."""
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
        # the text of a token is the difference of two prefixes, because several tokens may encode one character
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

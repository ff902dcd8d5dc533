"""State of an LLM in a search: keys and values of R rows in a growing cache, each row padded on the left."""

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

CACHES = ("cache", "past_key_values", "cache_params")
"""Names of the cache in different versions and families of transformers."""


class SearchState(Protocol):
    """State of an LLM after the prompts: the rows of a search."""

    is_plain: bool
    """Whether tokens and rows can be removed."""

    def extend(self, ids_RU: Tensor) -> Tensor:
        """Append tokens to every row; return the logits (R, U, V) after each of them."""
        ...

    def take(self, rows_R: Tensor) -> None:
        """Replace the rows by those with the indices ``rows_R``."""
        ...

    def remove(self, numbers: list[int]) -> None:
        """Remove the last ``numbers[r]`` tokens of each row r."""
        ...


class State:
    """Rows of a search in a growing cache.

    Args:
        model: causal LM of transformers.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        inputs = inspect.signature(model.forward).parameters
        self.has_positions = "position_ids" in inputs
        """Whether the LLM has an input of token positions; otherwise it computes them from the mask."""
        self.cache_name = next(name for name in CACHES if name in inputs)
        """Name of the LLM's input for the cache."""
        self.cache: Any = None if self.cache_name == "cache_params" else DynamicCache(config=model.config)
        layers = getattr(self.cache, "layers", [])
        self.is_plain = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
        """Whether every layer caches keys and values of all tokens, so that tokens and rows can be removed."""

    def begin(self, embeds_BUE: Tensor, lens_B: Tensor, drafted: int = 0) -> Tensor:
        """Compute the prompts; return the logits (B, U, V) after each prompt and after each drafted token.

        Args:
            embeds_BUE: prompts, padded on the left, followed by drafted tokens.
            lens_B: number of tokens of each prompt.
            drafted: number of columns of drafted tokens.
        """
        length = embeds_BUE.shape[1]
        columns_U = torch.arange(length, device=embeds_BUE.device)
        self.mask_RC = (columns_U >= length - drafted - lens_B[:, None]).long()
        output = self._forward(
            length, inputs_embeds=embeds_BUE, attention_mask=self.mask_RC, logits_to_keep=1 + drafted
        )
        if output.get(self.cache_name) is not None:
            self.cache = output[self.cache_name]
        logits_BUV: Tensor = output.logits[:, -1 - drafted :]
        return logits_BUV

    def _forward(self, length: int, **inputs: Any) -> Any:
        """Call the LLM on the last ``length`` columns."""
        if self.has_positions:
            inputs["position_ids"] = (self.mask_RC.cumsum(1) - 1).clamp(min=0)[:, -length:]
        return self.model(use_cache=True, return_dict=True, **inputs, **{self.cache_name: self.cache})

    def extend(self, ids_RU: Tensor) -> Tensor:
        """Append tokens to every row; return the logits (R, U, V) after each of them."""
        self.mask_RC = torch.cat([self.mask_RC, torch.ones_like(ids_RU)], 1)
        # an LLM without attention uses the mask for padding in the prompt only
        has_attention = any(hasattr(layer, "keys") for layer in getattr(self.cache, "layers", []))
        mask_RC = self.mask_RC if has_attention else None
        logits_RUV: Tensor = self._forward(ids_RU.shape[1], input_ids=ids_RU, attention_mask=mask_RC).logits
        return logits_RUV

    def take(self, rows_R: Tensor) -> None:
        """Replace the rows by any number of rows with the indices ``rows_R``."""
        self.cache.reorder_cache(rows_R)
        self.mask_RC = self.mask_RC[rows_R]

    def remove(self, numbers: list[int]) -> None:
        """Remove the last ``numbers[r]`` tokens of each row r, and pad the rows on the left again."""
        if not any(numbers):
            return
        number_R = torch.tensor(numbers, device=self.mask_RC.device)
        lens_R = self.mask_RC.sum(1) - number_R
        width = int(lens_R.max())
        from_R1 = (self.mask_RC.shape[1] - number_R - width)[:, None]
        columns_RC = (from_R1 + torch.arange(width, device=number_R.device)).clamp(min=0)
        self.mask_RC = (torch.arange(width, device=number_R.device) >= width - lens_R[:, None]).long()
        for layer in self.cache.layers:
            layer.keys, layer.values = (_gather(each, columns_RC) for each in (layer.keys, layer.values))


def _gather(states_RHCD: Tensor, columns_RC: Tensor) -> Tensor:
    """Return the columns ``columns_RC`` of each row of keys or values (H: heads, D: size of a head)."""
    heads, size = states_RHCD.shape[1], states_RHCD.shape[3]
    return states_RHCD.gather(2, columns_RC[:, None, :, None].expand(-1, heads, -1, size))

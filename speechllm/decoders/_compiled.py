"""Compiled step of the LLM: one token for each row, with a cache of fixed size.

The time of a step of a small batch is that of the launches of some thousand kernels; the compiled step is one CUDA
graph on a GPU. There are few sizes of caches, and batches share them, so that few steps are compiled.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache, CacheLayerMixin

from speechllm.decoders._state import State

COLUMNS = 128
"""The size of a cache is a multiple of this number of tokens, and a power of two of rows."""


class FixedLayer(CacheLayerMixin):
    """Cache of the keys and values of one layer in tensors of fixed size, for steps of one token.

    Args:
        keys_RHCD: keys (H: heads, C: columns, D: size of a head).
        values_RHCD: values.
        column: column of the next token (1,), shared by all layers.
    """

    is_compileable = True
    is_sliding = False

    def __init__(self, keys_RHCD: Tensor, values_RHCD: Tensor, column: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.column = keys_RHCD, values_RHCD, column
        self.is_initialized = True

    def lazy_initialization(self, *_: Any) -> None:
        """Do nothing, because the tensors exist already."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Store keys and values of the next token of each row; return all keys and values."""
        self.keys.index_copy_(2, self.column, key_states)
        self.values.index_copy_(2, self.column, value_states)
        return self.keys, self.values

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        """Return the number of columns and the first column."""
        return self.keys.shape[2], 0

    def get_seq_length(self) -> Any:
        """Return the column of the next token."""
        return self.column[0]

    def get_max_length(self) -> int:
        """Return the number of columns."""
        return self.keys.shape[2]

    get_max_cache_shape = get_max_length  # in earlier versions of transformers


class CompiledSteps:
    """Compiled steps of an LLM, with a cache for each size.

    Args:
        model: causal LM of transformers.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._caches: dict[tuple[int, int], Cache] = {}
        self._is_cuda = model.device.type == "cuda"
        self._compiled = torch.compile(self._step, mode="reduce-overhead" if self._is_cuda else None)

    def cache(self, state: State, rows: int, columns: int) -> Cache:
        """Return a cache of at least ``rows`` rows and ``columns`` columns for ``state``, with arbitrary content."""
        rows, columns = 1 << (rows - 1).bit_length(), -(-columns // COLUMNS) * COLUMNS
        if (rows, columns) not in self._caches:
            column = torch.zeros(1, dtype=torch.long, device=state.mask_RC.device)
            layers = []
            for layer in state.cache.layers:
                shapes = [(rows, each.shape[1], columns, each.shape[3]) for each in (layer.keys, layer.values)]
                keys_RHCD, values_RHCD = (layer.keys.new_zeros(shape) for shape in shapes)
                layers.append(FixedLayer(keys_RHCD, values_RHCD, column))
            for tensor in (column, *(each for layer in layers for each in (layer.keys, layer.values))):
                torch._dynamo.mark_static_address(tensor)  # otherwise CUDA graphs would copy them
            self._caches[rows, columns] = Cache(layers=layers)
        return self._caches[rows, columns]

    def __call__(self, inputs: dict[str, Any]) -> Tensor:
        """Return the logits (R, V) after a token of each row (float32)."""
        if self._is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        logits_RV: Tensor = self._compiled(inputs)
        return logits_RV.to(torch.float32, copy=True)  # the next replay of a CUDA graph overwrites logits_RV

    def _step(self, inputs: dict[str, Any]) -> Tensor:
        logits_RV: Tensor = self.model(use_cache=True, return_dict=True, **inputs).logits[:, -1]
        return logits_RV


class CompiledState:
    """Rows of a search in a cache of fixed size, for steps of one token; see ``State``.

    Args:
        prompts: state after the prompts.
        steps: compiled steps of the same LLM.
        num_tokens: largest number of generated tokens of a row.

    Raises:
        NotImplementedError: if the cache of the LLM is not one of keys and values of all tokens, or the LLM computes
            positions from the mask, which here has a column for each column of the cache.
    """

    is_plain = False  # rows and tokens cannot be removed

    def __init__(self, prompts: State, steps: CompiledSteps, num_tokens: int) -> None:
        if not prompts.is_plain:
            raise NotImplementedError("its cache does not contain the keys and values of all tokens")
        if not prompts.has_positions:
            raise NotImplementedError("it has no input of token positions")
        self._prompts, self._steps, self._num_tokens = prompts, steps, num_tokens
        self._begin = prompts.mask_RC.shape[1]
        self._rows = 0

    def take(self, rows_R: Tensor) -> None:
        """Replace the rows by those with the indices ``rows_R``.

        The first call sets the number of rows; later calls keep the number, and the prompt of each row.
        """
        if self._rows == 0:
            self._load(rows_R)
            return
        generated = slice(self._begin, self._column)
        for layer in self._cache.layers:
            for states_RHCD in (layer.keys, layer.values):
                part_RHCD = states_RHCD[:, :, generated]
                part_RHCD[: self._rows] = part_RHCD[rows_R]

    def remove(self, numbers: list[int]) -> None:
        """Do nothing, because tokens cannot be removed; all ``numbers`` are 0."""
        assert not any(numbers)

    def extend(self, ids_R1: Tensor) -> Tensor:
        """Append a token to every row; return the logits (R, 1, V) after it."""
        if self._rows == 0:
            self._load(torch.arange(len(ids_R1), device=ids_R1.device))
        self._mask_RC[:, self._column] = 1
        self._ids_R1[: self._rows] = ids_R1
        logits_RV = self._steps(
            {
                "input_ids": self._ids_R1,
                "attention_mask": self._mask_RC,
                "position_ids": self._positions_R1,
                self._prompts.cache_name: self._cache,
            }
        )
        self._positions_R1 += 1
        self._column += 1
        self._cache.layers[0].column.fill_(self._column)
        return logits_RV[: self._rows, None]

    def _load(self, rows_R: Tensor) -> None:
        """Copy the prompts with the indices ``rows_R`` to a cache of fixed size; unused rows repeat the first."""
        self._rows, self._column = len(rows_R), self._begin
        self._cache = self._steps.cache(self._prompts, self._rows, self._begin + self._num_tokens)
        rows, columns = self._cache.layers[0].keys.shape[0], self._cache.layers[0].get_max_length()
        from_R = torch.cat([rows_R, rows_R[:1].expand(rows - self._rows)])
        self._mask_RC = pad(self._prompts.mask_RC[from_R], (0, columns - self._begin))
        self._positions_R1 = self._mask_RC.sum(1, keepdim=True)
        self._ids_R1 = torch.zeros_like(self._positions_R1)
        self._cache.layers[0].column.fill_(self._column)
        for fixed, growing in zip(self._cache.layers, self._prompts.cache.layers, strict=True):
            fixed.keys[:, :, : self._begin] = growing.keys[from_R]
            fixed.values[:, :, : self._begin] = growing.values[from_R]

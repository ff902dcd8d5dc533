"""Packing: the sequences of a batch are concatenated without padding, and each attends only to itself.

All layers except attention act on single tokens, so no padding is computed. Attention is computed for each sequence (as
in Krell et al., 2021, arXiv 2107.02027, but without a block mask, which would be mostly zeros): by one kernel on a GPU
in half precision (Dao, 2023, arXiv 2307.08691), otherwise by one call per sequence. Keys and values shared by several
heads (Ainslie et al., 2023, arXiv 2305.13245) are not copied.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from speechllm.errors import ConfigError
from speechllm.transfer import to_device

PACKED = "speechllm_packed"
"""Name of this attention in transformers' registry."""
WITHOUT_EFFECT = frozenset(("position_ids", "cache_position", "cache", "use_cache"))
"""Options of an attention call that do not change its output: positions are applied before, and no cache is used."""


class Packed:
    """Lengths of packed sequences, on the CPU so that the CPU does not wait for kernels.

    It is a plain class, because the compiler guards the values of a list or tuple and would compile for each batch.

    Args:
        lens: number of tokens of each sequence.
        device: device of the sequences.
    """

    def __init__(self, lens: list[int], device: torch.device) -> None:
        self.lens = lens
        self.longest = max(lens)
        self.has_kernel = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        """Whether the device has PyTorch's FlashAttention: Ampere or newer."""
        self.starts = to_device(torch.tensor([0, *accumulate(lens)], dtype=torch.int32), device)
        """Index of the first token of each sequence, and the number of all tokens (B + 1)."""

    def positions(self) -> Tensor:
        """Return the position of every token (1, U) in its own sequence."""
        return to_device(torch.cat([torch.arange(length) for length in self.lens])[None], self.starts.device)


def _window(*, local_size: int | None = None, **_: Any) -> int | None:
    """Return, instead of a mask, the number of tokens that a layer attends to; None: all.

    Some families pass the size of their sliding window or chunk only to the function that builds masks.
    """
    return local_size


def _attend(
    module: Any,
    query_BHUD: Tensor,
    key_BHUD: Tensor,
    value_BHUD: Tensor,
    attention_mask: int | None,
    *,
    packed: Packed | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the causal self-attention (B, U, H, D) of every packed sequence.

    H: heads, D: size of a head; B is 1.

    Raises:
        ConfigError: if the LLM's attention has a window or other options.
    """
    _check_options(packed, options)
    assert packed is not None
    for window in (sliding_window, attention_mask):
        if window is not None and packed.longest > window:
            raise ConfigError(
                f"train.packing: found a sequence of {packed.longest} tokens, but the LLM attends only to the last "
                f"{window} tokens; set it to false"
            )
    if key_BHUD.shape == value_BHUD.shape and _has_kernel(query_BHUD, packed) and not dropout:
        return _attend_at_once(query_BHUD, key_BHUD, value_BHUD, packed, scaling), None
    return _attend_uncompiled(query_BHUD, key_BHUD, value_BHUD, packed, dropout, scaling), None


def _check_options(packed: Packed | None, options: dict[str, Any]) -> None:
    """Raise ConfigError for attention with an option that may change the result of packed sequences."""
    unknown = [
        name
        for name, value in options.items()
        if value is not None and name not in WITHOUT_EFFECT and not name.startswith("output_")
    ]
    if options.get("is_causal"):
        unknown.remove("is_causal")
    if unknown:
        raise ConfigError(
            f"train.packing: found the option {' and '.join(sorted(unknown))} in the LLM's attention, expected no "
            "such option; set it to false"
        )
    if packed is None:
        raise ConfigError(
            "train.packing: the LLM's attention is not given the lengths of packed sequences; set it to false"
        )


def _has_kernel(query_BHUD: Tensor, packed: Packed) -> bool:
    """Return whether one kernel can compute all sequences: in half precision, with heads of at most 256."""
    head = query_BHUD.shape[3]
    return packed.has_kernel and query_BHUD.dtype in (torch.bfloat16, torch.float16) and head % 8 == 0 and head <= 256


def _attend_at_once(
    query_BHUD: Tensor, key_BHUD: Tensor, value_BHUD: Tensor, packed: Packed, scaling: float | None
) -> Tensor:
    """Return the result of ``_attend`` (B, U, H, D), computed by one kernel for all sequences."""
    query_UHD, key_UHD, value_UHD = (x[0].transpose(0, 1) for x in (query_BHUD, key_BHUD, value_BHUD))
    starts, longest, causal = packed.starts, packed.longest, (-1, 0)
    found_UHD = varlen_attn(
        query_UHD, key_UHD, value_UHD, starts, starts, longest, longest, scale=scaling, window_size=causal
    )
    assert isinstance(found_UHD, Tensor)  # a pair only with further outputs
    return found_UHD[None]


def _attend_one_by_one(
    query_BHUD: Tensor, key_BHUD: Tensor, value_BHUD: Tensor, packed: Packed, dropout: float, scaling: float | None
) -> Tensor:
    """Return the result of ``_attend`` (B, U, H, D), computed by one call per sequence."""
    dtype, shares = query_BHUD.dtype, key_BHUD.shape[1] < query_BHUD.shape[1]
    if query_BHUD.device.type == "cpu":  # the backward pass of short sequences takes half the time in float32
        query_BHUD, key_BHUD, value_BHUD = query_BHUD.float(), key_BHUD.float(), value_BHUD.float()
    parts = zip(*(x.split(packed.lens, dim=2) for x in (query_BHUD, key_BHUD, value_BHUD)), strict=True)
    found = [
        scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, scale=scaling, enable_gqa=shares)
        for q, k, v in parts
    ]
    return torch.cat(found, dim=2).transpose(1, 2).to(dtype)


_attend_uncompiled: Callable[..., Tensor] = torch.compiler.disable(_attend_one_by_one)  # one graph per batch otherwise


AttentionInterface.register(PACKED, _attend)
AttentionMaskInterface.register(PACKED, _window)

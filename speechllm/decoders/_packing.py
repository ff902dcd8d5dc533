"""Packing: the LLM reads the sequences of a batch one behind the other, none padded, each seeing only itself.

Everything but attention works on single tokens, so it is computed for nothing but tokens; attention goes sequence by
sequence (as in Krell et al., 2021, arXiv 2107.02027, but without a mask, of which most would be zeros): on a GPU and in
half precision by one kernel for all of them (Dao, 2023, arXiv 2307.08691), else by a call for each. Heads that share
keys and values (Ainslie et al., 2023, arXiv 2305.13245) read one copy of them.
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
"""Name of this attention among those of transformers."""
WITHOUT_EFFECT = frozenset(("position_ids", "cache_position", "cache", "use_cache"))
"""Options of an attention call that change no output: queries and keys hold the positions, and no cache is used."""


class Packed:
    """Lengths of packed sequences, known on the CPU so that no kernel is waited for.

    An ordinary class: the compiler guards the values of a list or tuple, and would compile anew for each batch.

    Args:
        lens: number of tokens of each sequence.
        device: where the sequences are.
    """

    def __init__(self, lens: list[int], device: torch.device) -> None:
        self.lens = lens
        self.longest = max(lens)
        self.has_kernel = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        """Whether the device has PyTorch's FlashAttention: Ampere or newer."""
        self.starts = to_device(torch.tensor([0, *accumulate(lens)], dtype=torch.int32), device)
        """First token of each sequence, and the number of all tokens (B + 1)."""

    def positions(self) -> Tensor:
        """Return the position of every token (1, U) in its own sequence."""
        return to_device(torch.cat([torch.arange(length) for length in self.lens])[None], self.starts.device)


def _window(*, local_size: int | None = None, **_: Any) -> int | None:
    """Return in place of a mask the number of tokens that its layers attend to; None: all.

    Some families pass the size of their sliding window or chunk to no attention call, but only to their masks.
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
    """Let every sequence attend to itself.

    H: heads, D: size of each; B is 1.

    Raises:
        ConfigError: if the LLM's attention is not that of whole sequences.
    """
    _check_options(packed, options)
    assert packed is not None
    for window in (sliding_window, attention_mask):
        if window is not None and packed.longest > window:
            raise ConfigError(
                f"train.packing: found a sequence of {packed.longest} tokens, but the LLM attends to the last "
                f"{window} only; set it to false"
            )
    if key_BHUD.shape == value_BHUD.shape and _has_kernel(query_BHUD, packed) and not dropout:
        return _attend_at_once(query_BHUD, key_BHUD, value_BHUD, packed, scaling), None
    return _attend_uncompiled(query_BHUD, key_BHUD, value_BHUD, packed, dropout, scaling), None


def _check_options(packed: Packed | None, options: dict[str, Any]) -> None:
    """Refuse attention with an option that is not known to leave packed sequences as they are."""
    unknown = [
        name
        for name, value in options.items()
        if value is not None and name not in WITHOUT_EFFECT and not name.startswith("output_")
    ]
    if options.get("is_causal"):
        unknown.remove("is_causal")
    if unknown:
        raise ConfigError(
            f"train.packing: the LLM's attention has {' and '.join(sorted(unknown))}, expected an attention without; "
            "set it to false"
        )
    if packed is None:
        raise ConfigError(
            "train.packing: the LLM's attention is not given the lengths of packed sequences; set it to false"
        )


def _has_kernel(query_BHUD: Tensor, packed: Packed) -> bool:
    """Return whether one kernel computes all sequences: in half precision, and for heads of up to 256."""
    head = query_BHUD.shape[3]
    return packed.has_kernel and query_BHUD.dtype in (torch.bfloat16, torch.float16) and head % 8 == 0 and head <= 256


def _attend_at_once(
    query_BHUD: Tensor, key_BHUD: Tensor, value_BHUD: Tensor, packed: Packed, scaling: float | None
) -> Tensor:
    """Return what ``_attend`` does, (B, U, H, D), by a kernel that is given the places where sequences begin."""
    query_UHD, key_UHD, value_UHD = (x[0].transpose(0, 1) for x in (query_BHUD, key_BHUD, value_BHUD))
    starts, longest, causal = packed.starts, packed.longest, (-1, 0)
    found_UHD = varlen_attn(
        query_UHD, key_UHD, value_UHD, starts, starts, longest, longest, scale=scaling, window_size=causal
    )
    assert isinstance(found_UHD, Tensor)  # a pair only where more was asked for
    return found_UHD[None]


def _attend_one_by_one(
    query_BHUD: Tensor, key_BHUD: Tensor, value_BHUD: Tensor, packed: Packed, dropout: float, scaling: float | None
) -> Tensor:
    """Return what ``_attend`` does, (B, U, H, D), by a call for each sequence."""
    dtype, shares = query_BHUD.dtype, key_BHUD.shape[1] < query_BHUD.shape[1]
    if query_BHUD.device.type == "cpu":  # where short sequences are differentiated in about half the time in float32
        query_BHUD, key_BHUD, value_BHUD = query_BHUD.float(), key_BHUD.float(), value_BHUD.float()
    parts = zip(*(x.split(packed.lens, dim=2) for x in (query_BHUD, key_BHUD, value_BHUD)), strict=True)
    found = [
        scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, scale=scaling, enable_gqa=shares)
        for q, k, v in parts
    ]
    return torch.cat(found, dim=2).transpose(1, 2).to(dtype)


_attend_uncompiled: Callable[..., Tensor] = torch.compiler.disable(_attend_one_by_one)  # a graph would fit one batch


AttentionInterface.register(PACKED, _attend)
AttentionMaskInterface.register(PACKED, _window)

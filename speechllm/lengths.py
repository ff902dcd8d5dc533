"""Lengths within padded batches: masks, numbers of segments, and functions applied segment by segment."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def length_mask(lens_B: Tensor, max_length: int) -> Tensor:
    """Return a boolean mask (B, max_length), true at the first ``lens_B`` positions of each row."""
    return torch.arange(max_length, device=lens_B.device) < lens_B[:, None]


def ceil_div(lens_B: Tensor, divisor: int) -> Tensor:
    """Return each length divided by ``divisor``, rounded up."""
    return (lens_B + divisor - 1).div(divisor, rounding_mode="floor")


def similar_lengths(lens: Sequence[int], difference: int) -> list[list[int]]:
    """Return groups of indices, the longest first; within a group, lengths differ by at most ``difference``."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lens)), key=lambda place: -lens[place]):
        if groups and lens[groups[-1][0]] - lens[place] <= difference:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def ranks(groups_R: Tensor) -> Tensor:
    """Return the number of earlier elements of the same group for each element."""
    order_R = groups_R.argsort(stable=True)
    sizes_G = groups_R.bincount()
    firsts_G = sizes_G.cumsum(0) - sizes_G
    ranks_R = torch.empty_like(order_R)
    ranks_R[order_R] = torch.arange(len(order_R), device=order_R.device) - firsts_G[groups_R[order_R]]
    return ranks_R


class Groups:
    """Elements (R) in groups, each padded to the largest one.

    Args:
        groups_R: index of the group of each element.
        number: number of groups G.
    """

    def __init__(self, groups_R: Tensor, number: int) -> None:
        self.index = groups_R, ranks(groups_R)
        """Group of each element, and its place in the group."""
        self._shape = number, 1 + int(self.index[1].max())

    def pad(self, values: Tensor) -> Tensor:
        """Return values (R, ...) as (G, Q, ...) with zeros as padding; ``[index]`` returns them again."""
        return values.new_zeros(*self._shape, *values.shape[1:]).index_put(self.index, values)


def split_segments(inputs_BLD: Tensor, lens_B: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the segments (P, size, D) of all utterances, zero after the last input, and their valid lengths (P,)."""
    length, dim = inputs_BLD.shape[1:]
    starts = torch.arange(0, length, size, device=lens_B.device)
    lens_P = (lens_B[:, None] - starts).clamp(0, size).flatten()
    return pad(inputs_BLD, (0, 0, 0, -length % size)).reshape(-1, size, dim), lens_P


def map_segments(function: Callable[[Tensor, Tensor], Tensor], inputs_BLD: Tensor, lens_B: Tensor, size: int) -> Tensor:
    """Apply a function to each segment of each utterance and concatenate the results of an utterance.

    Args:
        function: maps segments (P, L, D) of all utterances and their valid lengths (P,), each at least 1, to outputs
            (P, Q, E) with the same Q for every segment.
        inputs_BLD: padded batch; values after ``lens_B`` are passed to ``function`` unchanged.
        lens_B: valid positions, at least 1.
        size: positions of a segment; the last segment of an utterance may be shorter.

    Returns:
        Outputs (B, number of segments * Q, E), zero for segments without a valid position.
    """
    batch, length, _ = inputs_BLD.shape
    if length <= size:
        return function(inputs_BLD, lens_B)
    segments_PLD, lens_P = split_segments(inputs_BLD, lens_B, size)
    used_P = lens_P > 0
    # The boolean index waits for the device, but segments without a valid position are not computed.
    outputs_PQE = function(segments_PLD[used_P], lens_P[used_P])
    all_PQE = outputs_PQE.new_zeros(len(used_P), *outputs_PQE.shape[1:])
    return all_PQE.index_put((used_P,), outputs_PQE).reshape(batch, -1, outputs_PQE.shape[-1])

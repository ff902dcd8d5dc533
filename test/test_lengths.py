"""Groups of similar lengths."""

import pytest
import torch

from speechllm.lengths import Groups, similar_lengths


@pytest.mark.parametrize(
    ("lens", "difference", "groups"),
    [
        ([], 5, []),
        ([7], 0, [[0]]),
        ([10, 20, 15, 9], 5, [[1, 2], [0, 3]]),  # to the longest of a group, not to its neighbour
        ([10, 10, 9], 0, [[0, 1], [2]]),
    ],
)
def test_no_length_differs_too_much_from_the_longest(lens: list[int], difference: int, groups: list[list[int]]) -> None:
    assert similar_lengths(lens, difference) == groups


def test_groups_are_padded_with_zeros() -> None:
    groups = Groups(torch.tensor([2, 0, 2]), 3)
    values_RH = torch.arange(1.0, 7.0).reshape(3, 2)
    padded_GQH = groups.pad(values_RH)
    assert padded_GQH.tolist() == [[[3, 4], [0, 0]], [[0, 0], [0, 0]], [[1, 2], [5, 6]]]
    assert padded_GQH[groups.index].equal(values_RH)

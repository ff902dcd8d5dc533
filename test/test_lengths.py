"""Groups of similar lengths."""

import pytest

from speechllm.lengths import similar_lengths


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

"""Alignments: sclite's costs and its choice among alignments of equal cost."""

import random
import time

import pytest

from speechllm.score import align as align_module
from speechllm.score.align import align, align_all


def plain(ref: list[str], hyp: list[str]) -> str:
    """Align cell by cell, as the definition reads."""
    best = [[(0, "")] * (len(hyp) + 1) for _ in range(len(ref) + 1)]
    for i in range(len(ref) + 1):
        for j in range(len(hyp) + 1):
            options = []  # in the order of preference
            if i and j:
                equal = ref[i - 1] == hyp[j - 1]
                options.append((best[i - 1][j - 1][0] + (0 if equal else 4), best[i - 1][j - 1][1] + "SC"[equal]))
            if j:
                options.append((best[i][j - 1][0] + 3, best[i][j - 1][1] + "I"))
            if i:
                options.append((best[i - 1][j][0] + 3, best[i - 1][j][1] + "D"))
            if options:
                best[i][j] = min(options, key=lambda option: option[0])
    return best[-1][-1][1]


@pytest.mark.parametrize(
    ("ref", "hyp", "expected"),
    [
        ("a b c d", "a c c d e", "CSCCI"),
        ("a b", "b c", "DCI"),  # the edit distance would be as short with two substitutions
        ("a b", "a b", "CC"),
        ("a", "b", "S"),
        ("", "a b", "II"),
        ("a b", "", "DD"),
        ("", "", ""),
        ("a a", "a", "DC"),  # the match is the last one
        ("a", "a a", "IC"),
    ],
)
def test_small_pairs(ref: str, hyp: str, expected: str) -> None:
    assert align(ref.split(), hyp.split()) == expected


def test_batches_equal_the_plain_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    pairs = []
    for _ in range(1500):
        words = "abcd"[: draw.randint(2, 4)]
        pairs.append((draw.choices(words, k=draw.randint(0, 12)), draw.choices(words, k=draw.randint(0, 12))))
    expected = [plain(*pair) for pair in pairs]
    assert align_all(pairs) == expected
    monkeypatch.setattr(align_module, "MAX_CELLS", 500)  # other batches, the same alignments
    assert align_all(pairs) == expected


def test_equal_words_at_the_ends_change_no_alignment() -> None:
    draw = random.Random(3)
    for _ in range(3000):
        words = "abcd"[: draw.randint(1, 4)]
        first, last = (draw.choices(words, k=draw.randint(0, 5)) for _ in range(2))
        ref, hyp = (first + draw.choices(words, k=draw.randint(0, 3)) + last for _ in range(2))
        assert align(ref, hyp) == plain(ref, hyp), f"{ref} {hyp}"


def test_no_pairs() -> None:
    assert align_all([]) == []


def test_one_pair_above_the_cells_of_a_batch() -> None:
    draw = random.Random(1)
    ref, hyp = draw.choices("abcdefgh", k=1500), draw.choices("abcdefgh", k=1500)
    start = time.process_time()
    letters = align(ref, hyp)
    assert time.process_time() - start < 5
    assert len(ref) == len(letters) - letters.count("I")
    assert len(hyp) == len(letters) - letters.count("D")
    columns = [letter for letter in letters if letter != "I"]
    assert columns.count("C") > 500


def test_many_utterances_are_fast() -> None:
    draw = random.Random(2)
    words = [str(k) for k in range(2000)]
    refs = [draw.choices(words, k=20) for _ in range(10_000)]
    pairs = [(ref, [word for word in ref if draw.random() < 0.9]) for ref in refs]
    start = time.process_time()
    align_all(pairs)
    assert time.process_time() - start < 5  # measured: 0.2 s on one core; 100,000 utterances must take under a minute

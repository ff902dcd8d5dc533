"""Failures of hypotheses that a word error rate does not show."""

import pytest

from speechllm.score import failures, wer
from speechllm.score.normalize import normalizer
from speechllm.score.wer import ScoredUtterance

NONE = normalizer("none")


def scored(*pairs: tuple[str, str]) -> list[ScoredUtterance]:
    ref = {f"0-{k}": pair[0] for k, pair in enumerate(pairs)}
    return wer.score(ref, {f"0-{k}": pair[1] for k, pair in enumerate(pairs)}, NONE)


def test_empty_hypotheses() -> None:
    assert failures.empty_hypotheses(scored(("a", ""), ("a", "b"), ("a", " "))) == ["0-0", "0-2"]


@pytest.mark.parametrize(
    ("ref", "hyp", "is_loop"),
    [
        ("yes", "okay okay okay okay", True),
        ("yes", "okay okay okay", False),
        ("yes", "so i went to the so i went to the so i went to the so i went to the", True),
        ("yes", "a b a b a b a", False),  # three times and a half
        ("yes", "well a b a b a b a b", True),
        ("no no no no", "no no no no", False),  # spoken so
        ("no no no no", "no no no no no", True),
        ("yes", "", False),
        ("a b c d e f g h", "a b c d e f g h a c e g b d f h", False),
    ],
)
def test_repetition_loops(ref: str, hyp: str, is_loop: bool) -> None:
    assert failures.repetition_loops(scored((ref, hyp))) == (["0-0"] if is_loop else [])


def test_deletion_bursts_are_eight_words_in_a_row() -> None:
    said = "a b c d e f g h i j k"
    assert failures.deletion_bursts(scored((said, "a b k"), (said, "a b c k"))) == ["0-0"]
    assert failures.deletion_bursts(scored((said, "a c e f k"))) == []


@pytest.mark.parametrize(
    ("ref", "hyp", "refused"),
    [
        ("what is it", "I'm sorry, but I can't help with that", True),
        ("what is it", "as an AI language model I hear nothing", True),
        ("what is it", "Please provide the audio", True),
        ("WHAT IS IT", "I'M SORRY BUT I CANNOT HEAR", True),
        ("i'm sorry but i can't come", "i'm sorry but i can't come", False),  # said so
        ("i am sorry", "i am sorry for you", False),
        ("what is it", "", False),
    ],
)
def test_refusals(ref: str, hyp: str, refused: bool) -> None:
    assert failures.refusals(scored((ref, hyp))) == (["0-0"] if refused else [])

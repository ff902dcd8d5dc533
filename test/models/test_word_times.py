"""Word times from posteriors of known paths."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechllm.decoders import causal_lm
from speechllm.interfaces import SubwordUnits, TimedWord
from speechllm.models.word_times import align_words, extend_words


@pytest.fixture(scope="module")
def subwords(tiny_llm: Path) -> SubwordUnits:
    return causal_lm.Config(path=str(tiny_llm)).build().subword_units(20)


def posteriors(subwords: SubwordUnits, classes: list[int], certainty: float = 0.9) -> Tensor:
    number = 1 + len(subwords.ids)
    probs_MC = torch.full((len(classes), number), (1 - certainty) / (number - 1))
    probs_MC[torch.arange(len(classes)), torch.tensor(classes)] = certainty
    return probs_MC.log()


def test_words_have_the_times_of_their_units(subwords: SubwordUnits) -> None:
    words = ["she", "had", "had", "a"]
    classes, expected = [0, 0], []
    for word in words:
        begin = len(classes)
        for place in subwords(word):
            classes += [place + 1, place + 1, 0]
        expected.append((word, round(begin * 0.08, 3), round((len(classes) - 1) * 0.08, 3)))
        classes += [0, 0]
    found = align_words(" ".join(words), posteriors(subwords, classes), subwords, 0.08)
    assert [(one.word, one.start, one.end) for one in found] == expected
    assert [one.confidence for one in found] == [0.9] * 4


def test_a_word_of_other_sounds_has_little_confidence(subwords: SubwordUnits) -> None:
    said = [each for place in subwords("she") for each in (place + 1, 0, 0)]
    right, wrong = (align_words(text, posteriors(subwords, said), subwords, 0.08)[0] for text in ("she", "quick"))
    assert wrong.confidence is not None and right.confidence is not None
    assert wrong.confidence < 0.2 < 0.8 < right.confidence


def test_words_without_units_and_texts_that_are_too_long_have_no_times(subwords: SubwordUnits) -> None:
    def none_of_fox(word: str) -> list[int]:
        return [] if word == "fox" else subwords(word)

    classes = [place + 1 for word in ("she", "had") for place in [*subwords(word), -1]]
    found = align_words("she fox had", posteriors(subwords, classes), none_of_fox, 0.08)  # type: ignore[arg-type]
    assert [one.start is None for one in found] == [False, True, False]
    assert found[1] == TimedWord(word="fox")
    units = sum(len(subwords(word)) for word in ("she", "had"))
    for states, timed in ((units, True), (units - 1, False)):
        found = align_words("she had", posteriors(subwords, [0] * states), subwords, 0.08)
        assert [one.start is not None for one in found] == [timed] * 2
    assert align_words("", posteriors(subwords, [0]), subwords, 0.08) == []


def test_equal_units_need_a_blank_between(subwords: SubwordUnits) -> None:
    def always_one(word: str) -> list[int]:
        return [5]

    states = (posteriors(subwords, [6] * n) for n in (2, 3))
    two, three = (align_words("a a", one_MC, always_one, 0.08) for one_MC in states)  # type: ignore[arg-type]
    assert [one.start for one in two] == [None, None]
    assert [(one.start, one.end) for one in three] == [(0.0, 0.08), (0.16, 0.24)]


def test_a_word_ends_with_the_speech_before_the_next_word() -> None:
    """Speech from 0.1 to 0.5 s and from 0.8 to 1.2 s; the level at a bound is that of three frames of 10 ms."""
    levels_T = np.full(150, -60.0)
    levels_T[10:50] = levels_T[80:120] = -20.0
    words = [
        TimedWord(word="one", start=0.08, end=0.16),
        TimedWord(word="two", start=0.32, end=0.40),
        TimedWord(word="?"),
        TimedWord(word="three", start=0.80, end=0.88),
        TimedWord(word="four", start=1.04, end=1.36),
    ]
    found = extend_words(words, levels_T)
    assert [(one.word, one.start) for one in found] == [(one.word, one.start) for one in words]
    assert [one.end for one in found] == [0.32, 0.5, None, 1.04, 1.36]
    assert extend_words(words, np.full(150, -64.0)) == words
    assert extend_words([], levels_T) == []

"""Choice of hot words by CTC, compared with forced alignments of every part of an utterance."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchaudio.functional import forced_align

from speechllm.decoders import causal_lm
from speechllm.interfaces import Posteriors, SubwordUnits
from speechllm.models.hot_words import choose_hot_words, hot_word_distances


@pytest.fixture(scope="module")
def subwords(tiny_llm: Path) -> SubwordUnits:
    return causal_lm.Config(path=str(tiny_llm)).build().subword_units(20)


def random_posteriors(subwords: SubwordUnits, number: int, states: int) -> Tensor:
    torch.manual_seed(number)
    return torch.randn(number, states, 1 + len(subwords.ids)).mul(2).log_softmax(-1)


def by_forced_alignment(word: str, log_probs_MC: Tensor, subwords: SubwordUnits) -> float:
    labels = [unit + 1 for unit in subwords(word)]
    found = math.inf
    for begin in range(len(log_probs_MC)):
        for end in range(begin + len(labels), len(log_probs_MC) + 1):
            part = log_probs_MC[begin:end]
            try:
                _, scores = forced_align(part[None], torch.tensor([labels]))
            except RuntimeError:  # too many units for the states
                continue
            found = min(found, float(part.amax(-1).sum() - scores.sum()))
    return found / len(labels)


def test_distances_are_those_of_the_best_forced_alignment_of_any_part(subwords: SubwordUnits) -> None:
    words = ["she", "had", "a", "ll", "all year", "quick"]
    log_probs_MC = random_posteriors(subwords, 1, 12)[0]
    expected = [by_forced_alignment(word, log_probs_MC, subwords) for word in words]
    assert hot_word_distances(words, log_probs_MC, subwords) == pytest.approx(expected, abs=1e-4)


def test_a_word_of_the_best_labels_has_the_distance_zero(subwords: SubwordUnits) -> None:
    log_probs_MC = random_posteriors(subwords, 2, 20)[0]
    for state, unit in enumerate(subwords("had")):
        log_probs_MC[5 + 2 * state, unit + 1] = 0
        log_probs_MC[6 + 2 * state, 0] = 0
    distances = hot_word_distances(["had", "quick", "had"], log_probs_MC, subwords)
    assert distances[0] == distances[2] == 0 < distances[1]


def test_words_without_units_or_with_too_many_are_never_chosen(subwords: SubwordUnits) -> None:
    def none_of_fox(word: str) -> list[int]:
        return [] if word == "fox" else subwords(word)

    log_probs_MC = random_posteriors(subwords, 3, 2)[0]
    distances = hot_word_distances(["fox", "quick brown", "a"], log_probs_MC, none_of_fox)  # type: ignore[arg-type]
    assert distances[:2] == [math.inf] * 2 and distances[2] < math.inf
    assert hot_word_distances(["fox"], log_probs_MC, none_of_fox) == [math.inf]  # type: ignore[arg-type]
    assert hot_word_distances([], log_probs_MC, subwords) == []


def test_contexts_keep_the_order_of_their_words_and_padding_has_no_influence(subwords: SubwordUnits) -> None:
    words = ["she", "had", "quick", "all year"]
    log_probs_BMC, lens_B = random_posteriors(subwords, 2, 16), torch.tensor([16, 9])
    log_probs_BMC[1, 9:] = 0  # padding: the distance of every word would be 0 there
    distances = [hot_word_distances(words, log_probs_BMC[i, :length], subwords) for i, length in enumerate((16, 9))]
    largest = sorted(distances[0] + distances[1])[3]
    found = choose_hot_words(
        [", ".join(words), "she,had, quick , all year"], Posteriors(log_probs_BMC, lens_B, subwords), largest
    )
    expected = [", ".join(w for w, one in zip(words, some, strict=True) if one <= largest) for some in distances]
    assert found == expected and sum(len(one.split(", ")) for one in found if one) == 4

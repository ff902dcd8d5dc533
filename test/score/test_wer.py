"""Counts, rates and intervals."""

import pytest

from speechllm.errors import DataError
from speechllm.score import wer
from speechllm.score.normalize import normalizer
from speechllm.score.wer import ScoredUtterance

NONE = normalizer("none")


def scored(*pairs: tuple[str, str]) -> list[ScoredUtterance]:
    ref = {f"{k % 2}-{k}": pair[0] for k, pair in enumerate(pairs)}
    return wer.score(ref, {f"{k % 2}-{k}": pair[1] for k, pair in enumerate(pairs)}, NONE)


def test_counts_in_sum_and_by_speaker() -> None:
    utterances = scored(("a b c d", "a c c d e"), ("the cat sat", ""), ("x", "x"))
    total = wer.count(utterances)
    assert (total.sentences, total.words, total.correct) == (3, 8, 4)
    assert (total.substitutions, total.deletions, total.insertions) == (1, 3, 1)
    assert (total.errors, total.wrong_sentences) == (5, 2)
    assert total.percentages == pytest.approx((50, 12.5, 37.5, 12.5, 62.5, 200 / 3))
    speakers = {name: wer.count(spoken).words for name, spoken in wer.by_speaker(utterances).items()}
    assert speakers == {"0": 5, "1": 3}


def test_order_is_that_of_the_references() -> None:
    utterances = wer.score({"b-1": "x", "a-1": "y"}, {"a-1": "y", "b-1": "x"}, NONE)
    assert [u.utt_id for u in utterances] == ["b-1", "a-1"]


def test_normalizer_acts_on_both_sides() -> None:
    utterances = wer.score({"a-1": "It's, he said"}, {"a-1": "IT'S HE said!"}, normalizer("librispeech"))
    assert utterances[0].alignment == "CCC"


def test_characters_count_the_space_between_words() -> None:
    utterances = wer.score({"a-1": "ab c"}, {"a-1": "abc"}, NONE, "character")
    assert utterances[0].ref == ["a", "b", "<space>", "c"]
    assert utterances[0].alignment == "CCDC"


def test_a_reference_that_the_normalizer_empties_counts_insertions() -> None:
    utterances = wer.score({"a-1": "...", "a-2": "yes"}, {"a-1": "no no", "a-2": "yes"}, normalizer("librispeech"))
    assert wer.count(utterances).insertions == 2
    with pytest.raises(DataError, match=r"normalizer librispeech \(1\): leaves all references empty: a-1"):
        wer.score({"a-1": "..."}, {"a-1": "no"}, normalizer("librispeech"))


def test_interval_is_seeded_and_holds_the_rate() -> None:
    utterances = scored(*[("a b c d", "a b c d" if k % 4 else "a x y d") for k in range(200)])
    low, high = wer.bootstrap_interval(utterances)
    assert low < 12.5 < high
    assert (low, high) == wer.bootstrap_interval(utterances)
    assert (low, high) != wer.bootstrap_interval(utterances, seed=1)
    # one utterance's rate is 50% with probability 1/4: the mean of 200 has a deviation of 1.53
    assert low == pytest.approx(12.5 - 1.96 * 1.53, abs=0.6)
    assert high == pytest.approx(12.5 + 1.96 * 1.53, abs=0.6)


def test_interval_of_perfect_hypotheses_has_no_width() -> None:
    assert wer.bootstrap_interval(scored(("a", "a"), ("b", "b"))) == (0.0, 0.0)

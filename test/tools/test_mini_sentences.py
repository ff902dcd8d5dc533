import random

import jiwer
from mini_sentences import RULES, WORDS, draw, expand, vocabulary


def test_sentences_are_unlike_and_the_same_for_a_seed() -> None:
    sentences = draw(2700, seed=1)
    assert len(set(sentences)) == 2700
    assert sentences == draw(2700, seed=1)
    assert sentences != draw(2700, seed=2)


def test_sentences_are_short_and_of_the_vocabulary() -> None:
    sentences = draw(2700, seed=1)
    assert {word for sentence in sentences for word in sentence.split()} == vocabulary()
    assert len(vocabulary()) >= 80
    assert all(2 <= len(sentence.split()) <= 8 for sentence in sentences)
    assert all(word.isalpha() and word.isupper() for word in vocabulary())


def test_every_word_of_the_test_set_is_heard_often_in_training() -> None:
    words = " ".join(draw(2700, seed=1)[:2400]).split()
    assert min(words.count(word) for word in vocabulary()) >= 15


def test_another_sentence_is_nearly_all_wrong() -> None:
    sentences = draw(500, seed=3)
    others = sentences[1:] + sentences[:1]
    assert jiwer.wer(sentences, others) > 0.95


def test_every_list_is_used_and_no_name_comes_twice() -> None:
    assert {word.strip("{}") for rule in RULES for word in rule.split() if word.startswith("{")} == set(WORDS)
    for seed in range(50):
        _, first, _, second, _ = expand("CALL {name} AND {name} {day}", random.Random(seed)).split()
        assert first != second

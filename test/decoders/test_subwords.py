"""Subword units of the LLM's vocabulary, shorter with fewer merges."""

import string
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from speechllm.decoders._subwords import SubwordUnits
from speechllm.errors import ConfigError

TEXT = "she had all year"


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(tiny_llm)


@pytest.mark.parametrize("merges", [0, 10, 100_000])
def test_text_can_be_read_again(tokenizer: PreTrainedTokenizerFast, merges: int) -> None:
    subwords = SubwordUnits(tokenizer, merges)
    assert tokenizer.decode([subwords.ids[place] for place in subwords(TEXT)]).strip() == TEXT


def test_no_merges_give_letters_and_all_merges_the_tokenizers_own(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(SubwordUnits(tokenizer, 0)(TEXT)) == len(f" {TEXT}")
    whole = SubwordUnits(tokenizer, 100_000)
    own = tokenizer(f" {TEXT}", add_special_tokens=False).input_ids
    assert [whole.ids[place] for place in whole(TEXT)] == own


def test_the_first_word_has_the_units_of_any_other_word(tokenizer: PreTrainedTokenizerFast) -> None:
    subwords = SubwordUnits(tokenizer, 20)
    assert subwords("had had") == 2 * subwords("had")


def test_an_empty_text_has_no_units(tokenizer: PreTrainedTokenizerFast) -> None:
    assert SubwordUnits(tokenizer, 20)("") == SubwordUnits(tokenizer, 20)(" ") == []


def test_special_tokens_are_no_units(tokenizer: PreTrainedTokenizerFast) -> None:
    assert not set(tokenizer.all_special_ids) & set(SubwordUnits(tokenizer, 100_000).ids)


def test_a_tokenizer_without_merges_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected byte pairs"):
        SubwordUnits(object(), 10)


@pytest.mark.parametrize("merges", [0, 20, 100_000])
def test_the_units_of_a_texts_tokens_are_those_of_the_text(tokenizer: PreTrainedTokenizerFast, merges: int) -> None:
    subwords = SubwordUnits(tokenizer, merges)
    ids = tokenizer(f" {TEXT}", add_special_tokens=False).input_ids
    assert [place for one in ids for place in subwords.units(one)] == subwords(TEXT)
    first = tokenizer("s", add_special_tokens=False).input_ids
    assert subwords.units(first[0], first=True)[: len(subwords("s"))] == subwords("s")
    assert subwords.units(tokenizer.eos_token_id) == []


def test_the_first_token_of_a_text_has_no_space(tokenizer: PreTrainedTokenizerFast) -> None:
    subwords = SubwordUnits(tokenizer, 100_000)
    for place, text in enumerate(subwords.texts):
        token = subwords.token(place, first=True)
        assert subwords.token(place) == subwords.ids[place]
        assert not text.isascii() or tokenizer.decode([token]) in (text, text.removeprefix(" "))
    assert any(subwords.token(place, first=True) != one for place, one in enumerate(subwords.ids))


def test_units_in_lower_case_ignore_case(tokenizer: PreTrainedTokenizerFast) -> None:
    subwords = SubwordUnits(tokenizer, 100_000, lower_case=True)
    assert not any(character in string.ascii_uppercase for text in subwords.texts for character in text)
    assert subwords(TEXT.upper()) == subwords(TEXT)
    capital = tokenizer(" S", add_special_tokens=False).input_ids
    assert "".join(subwords.texts[place] for one in capital for place in subwords.units(one)) == " s"


def test_the_texts_of_units_have_a_space_at_the_beginning_of_a_word(tokenizer: PreTrainedTokenizerFast) -> None:
    subwords = SubwordUnits(tokenizer, 100_000)
    assert "".join(subwords.texts[place] for place in subwords(TEXT)) == f" {TEXT}"

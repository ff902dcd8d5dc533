"""Spelling: pieces of the LLM's vocabulary, ever shorter the fewer merges are known."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from speechllm.decoders._spelling import Spelling
from speechllm.errors import ConfigError

TEXT = "she had all year"


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(tiny_llm)


@pytest.mark.parametrize("merges", [0, 10, 100_000])
def test_text_can_be_read_again(tokenizer: PreTrainedTokenizerFast, merges: int) -> None:
    spelling = Spelling(tokenizer, merges)
    assert tokenizer.decode([spelling.ids[place] for place in spelling(TEXT)]).strip() == TEXT


def test_no_merges_are_letters_and_all_are_the_tokenizers_own(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(Spelling(tokenizer, 0)(TEXT)) == len(f" {TEXT}")
    whole = Spelling(tokenizer, 100_000)
    own = tokenizer(f" {TEXT}", add_special_tokens=False).input_ids
    assert [whole.ids[place] for place in whole(TEXT)] == own


def test_the_first_word_is_spelt_like_any_other(tokenizer: PreTrainedTokenizerFast) -> None:
    spelling = Spelling(tokenizer, 20)
    assert spelling("had had") == 2 * spelling("had")


def test_nothing_said_has_no_pieces(tokenizer: PreTrainedTokenizerFast) -> None:
    assert Spelling(tokenizer, 20)("") == Spelling(tokenizer, 20)(" ") == []


def test_special_tokens_are_no_pieces(tokenizer: PreTrainedTokenizerFast) -> None:
    assert not set(tokenizer.all_special_ids) & set(Spelling(tokenizer, 100_000).ids)


def test_a_tokenizer_without_merges_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected byte pairs"):
        Spelling(object(), 10)


@pytest.mark.parametrize("merges", [0, 20, 100_000])
def test_the_pieces_of_a_texts_tokens_spell_it(tokenizer: PreTrainedTokenizerFast, merges: int) -> None:
    spelling = Spelling(tokenizer, merges)
    ids = tokenizer(f" {TEXT}", add_special_tokens=False).input_ids
    assert [place for one in ids for place in spelling.pieces(one)] == spelling(TEXT)
    first = tokenizer("s", add_special_tokens=False).input_ids
    assert spelling.pieces(first[0], first=True)[: len(spelling("s"))] == spelling("s")
    assert spelling.pieces(tokenizer.eos_token_id) == []

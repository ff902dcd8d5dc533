"""Transcripts that hold the names of special tokens: text like any other, in tokens, in CTC and in hypotheses."""

from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from toy_families import tiny

from speechllm.decoders._search import Found
from speechllm.decoders._subwords import SubwordUnits
from speechllm.decoders._text import text_tokenizer
from speechllm.decoders.causal_lm import CausalLM, Config
from speechllm.errors import ConfigError

TEXTS = ("say <|end|> aloud", "<|start|>", "an <unk> word", "a<|end|>b <|start|> c")
LETTERS = "abcdefghijklmnopqrstuvwxyz<>/|"


def metaspace(model: Any) -> Any:
    """Return a tokenizer of words with a mark for the space, as sentencepiece makes them."""
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<|start|>", eos_token="<|end|>"
    )


def unigram() -> Any:
    special = [("<unk>", 0.0), ("<|start|>", 0.0), ("<|end|>", 0.0)]
    return metaspace(models.Unigram([*special, *((letter, -5.0) for letter in f"\u2581{LETTERS}")], unk_id=0))


def byte_fallback() -> Any:
    units = ["<unk>", "<|start|>", "<|end|>", *(f"<0x{i:02X}>" for i in range(256)), *f"\u2581{LETTERS}"]
    vocabulary = {unit: i for i, unit in enumerate(units)}
    return metaspace(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))


def byte_level(tiny_llm: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(tiny_llm)


@pytest.fixture(params=["byte_level", "byte_fallback", "unigram"])
def tokenizer(request: pytest.FixtureRequest, tiny_llm: Path) -> Any:
    makers = {"byte_level": lambda: byte_level(tiny_llm), "byte_fallback": byte_fallback, "unigram": unigram}
    return makers[request.param]()


@pytest.mark.parametrize("text", TEXTS)
def test_names_of_special_tokens_are_text(tokenizer: Any, text: str) -> None:
    assert set(tokenizer.all_special_ids) & set(tokenizer(text, add_special_tokens=False).input_ids)
    ids = text_tokenizer(tokenizer)(text)
    assert not set(tokenizer.all_special_ids) & set(ids)
    assert " ".join(tokenizer.decode(ids, skip_special_tokens=True).split()) == text


def test_text_without_such_names_has_the_tokenizers_own_ids(tokenizer: Any) -> None:
    for text in ("", "she had all year", " two  spaces ", "the lazy dog"):
        assert text_tokenizer(tokenizer)(text) == tokenizer(text, add_special_tokens=False).input_ids


def test_words_that_are_names_are_unknown_to_a_tokenizer_of_words() -> None:
    words = {"<unk>": 0, "<|start|>": 1, "<|end|>": 2, "say": 3}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<|start|>", eos_token="<|end|>"
    )
    assert text_tokenizer(fast)("say <|end|> say") == [3, 0, 3]


@pytest.mark.parametrize("text", TEXTS)
def test_a_transcript_ends_once_and_comes_back(tiny_llm: Path, text: str) -> None:
    decoder = Config(path=str(tiny_llm)).build()
    ids = decoder.tokenize(text, end=True)
    assert ids.count(decoder.tokenizer.eos_token_id) == 1
    hypothesis = decoder._hypothesis(Found(ids, [0.0] * len(ids), 0.0), 99)
    assert hypothesis.text == text
    assert decoder.tokenize("<|start|>", special=True) == [decoder.tokenizer.bos_token_id]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("merges", [0, 100_000])
def test_ctc_units_spell_names_of_special_tokens(tiny_llm: Path, text: str, merges: int) -> None:
    tokenizer = byte_level(tiny_llm)
    tokenizer.add_tokens(["aloud"])  # nor may tokens that were added without being special swallow a word
    subwords = SubwordUnits(tokenizer, merges)
    ids = [subwords.ids[place] for place in subwords(text)]
    assert tokenizer.decode(ids).strip() == text
    assert not set(tokenizer.added_tokens_decoder) & set(ids)


def test_control_characters_are_left_out_of_hypotheses(tiny_llm: Path) -> None:
    decoder = Config(path=str(tiny_llm)).build()
    ids = decoder.tokenize("a\0b \x14c\x7f")
    assert "\0" in decoder.tokenizer.decode(ids)
    assert decoder._hypothesis(Found(ids, [0.0] * len(ids), 0.0), 99).text == "ab c"


def test_a_token_without_an_embedding_is_refused(tiny_llm: Path) -> None:
    tokenizer = byte_level(tiny_llm)
    model = tiny("llama", tokenizer)
    tokenizer.add_tokens(["<|brand_new|>"])
    with pytest.raises(ConfigError, match=r"decoder\.tokenizer: found \d+ tokens, .*none for '<\|brand_new\|>'"):
        CausalLM(model, tokenizer)


def test_a_special_token_of_another_modality_needs_no_embedding(tiny_llm: Path) -> None:
    tokenizer = byte_level(tiny_llm)
    model = tiny("llama", tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    decoder = CausalLM(model, tokenizer)
    assert max(decoder.tokenize("an <image> here")) < decoder.num_embeddings
    with pytest.raises(ConfigError, match="none for '<image>'"):
        decoder.tokenize("<image>", special=True)

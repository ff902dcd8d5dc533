"""Normalisers: their outputs, names and versions."""

import json
from pathlib import Path

import pytest

from speechllm.errors import ConfigError, DataError
from speechllm.score.normalize import NAMES, normalizer, split_letters


def test_none_changes_only_white_space() -> None:
    assert normalizer("none")(" It's  a\tTest, 5\u00a0times. ") == "It's a Test, 5 times."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well-known: it's  five o\u2019clock!", "WELL KNOWN IT'S FIVE O'CLOCK"),
        ("Café, naïve", "CAFE NAIVE"),
        ("... 12 ...", ""),
    ],
)
def test_librispeech(text: str, expected: str) -> None:
    assert normalizer("librispeech")(text) == expected


def test_whisper_english() -> None:
    normalize = normalizer("whisper-english")
    assert normalize("Mr. Smith won't, um, pay TWENTY-ONE [noise]") == "mister smith will not pay 21"
    assert normalize("colour") == "colour"
    assert normalize.version.endswith("no spelling mapping")


def test_whisper_english_with_the_mapping_of_a_model_directory(tmp_path: Path) -> None:
    path = tmp_path / "normalizer.json"
    path.write_text(json.dumps({"colour": "color"}))
    normalize = normalizer("whisper-english", path)
    assert normalize("Colour") == "color"
    assert "1 spellings " in normalize.version
    path.write_text(json.dumps({"colour": "hue"}))
    assert normalizer("whisper-english", path).version != normalize.version


def test_every_normalizer_names_itself_with_a_version() -> None:
    for name in NAMES:
        assert str(normalizer(name)).startswith(f"{name} (")
        assert normalizer(name).version


def test_unknown_name() -> None:
    with pytest.raises(ConfigError, match=f"found 'whisper', expected one of {', '.join(NAMES)}"):
        normalizer("whisper")


@pytest.mark.parametrize("content", ["[1, 2]", '{"a": 1}', "not json"])
def test_bad_mapping(tmp_path: Path, content: str) -> None:
    path = tmp_path / "normalizer.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"normalizer\.json"):
        normalizer("whisper-english", path)


def test_mapping_for_a_normalizer_that_takes_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="normalizer none: found the spelling mapping"):
        normalizer("none", tmp_path / "normalizer.json")


def test_gigaspeech_leaves_fillers_and_tags_out() -> None:
    normalize = normalizer("gigaspeech")
    assert normalize("uh well-known <COMMA> um <UNK> it is <PERIOD> hUh") == "WELL KNOWN IT IS"
    assert str(normalize) == "gigaspeech (1)"


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("ENTER NINE ONE SIX NINE", "Enter 9169."),
        ("ENTER NINE ONE SIX NINE", "Enter 9,169"),
        ("ENTER NINE ONE SIX NINE", "Enter 9-1-6-9."),
        ("ZERO ZERO SEVEN", "007"),
        ("DOUBLE O SEVEN", "0, 0, 7"),
        ("TEN OH FIVE", "10:05"),
        ("ONE", "1"),
        ("TWO HUNDRED AND FIVE", "205"),
        ("TWENTY FIRST", "21st"),
        ("A B C", "ABC"),
        ("A B C", "A.B.C."),
        ("A B C", "A, B, C."),
        ("A B C", "a-b-c"),
        ("B O B", "B-O-B"),
        ("D R", "DR"),
        ("U S A IT'S", "U.S.A. it\u2019s"),
    ],
)
def test_english_makes_numbers_and_spelled_letters_independent_of_their_grouping(spoken: str, written: str) -> None:
    english = normalizer("english")
    assert english(spoken) == english(written) != ""


def test_english_counts_digits_apart_and_spelled_words_whole() -> None:
    english = normalizer("english")
    assert english("Enter 9169, A B C; it's a b c's") == "enter 9 1 6 9 abc it is ab c is"
    assert english("M M um") == "mm"  # "um" is a filler, two letters are spelled
    assert english("nine one six nine") != english("nine one six eight")


@pytest.mark.parametrize(
    ("name", "text", "ignores"),
    [
        ("librispeech", "Enter 9169.", True),
        ("librispeech", "\u0434\u0430, yes", True),
        ("librispeech", "Caf\u00e9, I said!", False),
        ("whisper-english", "1 of 20", False),
        ("english", "Enter 9169.", False),
        ("gigaspeech", "UM <COMMA> 5", False),
        ("none", "5", False),
    ],
)
def test_deleted_digits_and_letters_are_found(name: str, text: str, ignores: bool) -> None:
    assert normalizer(name).ignores_characters(text) is ignores


SCRIPTS = {
    "Straße, “GRÖSSE” – ﬁnden (lacht) 5\u00a0%": "straße grösse finden 5",  # noqa: RUF001
    "Être ou ne pas être [rires]?": "être ou ne pas être",
    "Съешь ЕЩЁ этих булок!": "съешь ещё этих булок",
    "今天天气很好，我们去公园。": "今天天气很好 我们去公园",  # noqa: RUF001
    "東京タワーは３３３メートル。": "東京タワーは333メートル",
    "مرحبا، كيف حالك؟": "مرحبا كيف حالك",
    "สวัสดีครับ": "สว สด คร บ",
    "안녕하세요, 세계!": "안녕하세요 세계",
}


@pytest.mark.parametrize(("text", "expected"), SCRIPTS.items())
def test_whisper_basic_equals_that_of_transformers(text: str, expected: str) -> None:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normalize = normalizer("whisper-basic")
    assert normalize(text) == BasicTextNormalizer()(text).strip() == expected
    assert normalize.version.startswith("transformers ")
    letters = split_letters(normalize)
    assert letters(text) == " ".join(BasicTextNormalizer(split_letters=True)(text).split())
    assert letters(text).replace(" ", "") == expected.replace(" ", "")
    assert str(letters).endswith(", letters split)")


def test_a_letter_keeps_its_marks() -> None:
    assert split_letters(normalizer("none"))("สวัสดี ครับ") == "ส วั ส ดี ค รั บ"

r"""Text normalisers by name: a word error rate is meaningful only together with the normaliser.

Every normaliser has a version, which changes whenever its output may change; every result contains both.

==================  ==================================================================================
``none``            the text without changes; words are separated by white space
``librispeech``     upper case; only the letters A to Z and apostrophes; accents are removed, all other characters
                    separate words
``gigaspeech``      upper case; hyphens become spaces; fillers (UH, UM, ...) and tags of punctuation, noise and
                    unknown words are removed, as in GigaSpeech's scoring (Chen et al. 2021)
``whisper-english`` Whisper's normaliser for English, from transformers (Radford et al. 2022, appendix C): lower
                    case, no fillers, expanded contractions, numbers as digits
``whisper-basic``   Whisper's normaliser for other languages, from transformers: lower case, unified compatibility
                    forms, no text in brackets, punctuation and symbols become spaces
``english``         ``whisper-english``, with two rules for numbers and abbreviations: every digit is a word
                    (``nine one six nine``, ``9169`` and ``9,169`` are ``9 1 6 9``), and two or more successive
                    single letters are one word (``A B C``, ``A.B.C.``, ``a-b-c`` and ``ABC`` are ``abc``), including
                    ``i a`` of ``am I a``
==================  ==================================================================================

``librispeech`` deletes digits and all non-Latin letters: a hypothesis with ``9169`` for ``nine one six nine`` is scored
as if the words were missing. ``Normalizer.ignores_characters`` finds such texts, and every score counts them. Choose
``english`` if systems may write numbers or abbreviations in different ways.

``whisper-basic`` also replaces combining marks by spaces, which separates the vowel signs of Thai, Lao, Burmese and the
scripts of India from their letters: choose ``none`` for these languages.
"""

import hashlib
import importlib.metadata
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import regex

from speechllm.errors import ConfigError, DataError

NAMES = ("none", "librispeech", "gigaspeech", "whisper-english", "whisper-basic", "english")
FILLERS = "UH UHH UM EH MM HM AH HUH HA ER OOF HEE ACH EEE EW"
TAGS = "<UNK> <COMMA> <PERIOD> <QUESTIONMARK> <EXCLAMATIONPOINT> <SIL> <NOISE> <MUSIC> <OTHER>"
NOT_SCORED = frozenset(f"{FILLERS} {TAGS}".split())
"""Words that ``gigaspeech`` removes."""
MAY_BE_IGNORED = re.compile(r"[^\W_a-zA-Z]")
"""Digits, and letters beyond A to Z."""
SINGLE_LETTERS = re.compile(r"(?<![\w'])[a-z](?:[\s.,;:!?\u2013\u2014-]+[a-z](?![\w']))+")
BETWEEN_DIGITS = re.compile(r"(?<=\d)(?=\d)")
LEADING_ZERO = re.compile(r"(?<![\d.,])0\d*(?!\d|[.,]\d)")
DIGIT_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NOTHING = r"(?!)"


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """Normaliser of text with a name and a version."""

    name: str
    version: str
    apply: Callable[[str], str]
    splits_letters: bool = False
    """Whether each letter becomes a word; see ``split_letters``."""

    def __call__(self, text: str) -> str:
        """Return the normalised text, with words separated by single spaces."""
        return " ".join(self.apply(text).split())

    def ignores_characters(self, text: str) -> bool:
        """Return whether ``text`` has digits, or letters beyond A to Z, that do not affect the normalised text."""
        if self.name == "none" or MAY_BE_IGNORED.search(text) is None:
            return False
        return any(
            re.search(kind, text) is not None and self(text) == self(re.sub(kind, " ", text))
            for kind in (r"\d", r"[^\W\d_a-zA-Z]")
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.version})"


def normalizer(name: str, spelling: Path | None = None) -> Normalizer:
    """Return the normaliser ``name``.

    Args:
        name: one of ``NAMES``.
        spelling: for ``whisper-english`` and ``english``, the JSON mapping of British to American spellings in
            ``normalizer.json`` of a Whisper model directory. Transformers does not contain it; without it spellings
            are not changed, and the version states this.
    """
    if spelling is not None and name not in ("whisper-english", "english"):
        raise ConfigError(f"normalizer {name}: found the spelling mapping {spelling}, expected none; leave it out")
    if name == "none":
        return Normalizer(name=name, version="1", apply=str)
    if name == "librispeech":
        return Normalizer(name=name, version="1", apply=_librispeech)
    if name == "gigaspeech":
        return Normalizer(name=name, version="1", apply=_gigaspeech)
    if name == "whisper-basic":
        from transformers.models.whisper.english_normalizer import BasicTextNormalizer

        return Normalizer(name=name, version=_of_transformers(), apply=BasicTextNormalizer())
    if name in ("whisper-english", "english"):
        return _of_whisper(name, spelling)
    raise ConfigError(f"normalizer: found {name!r}, expected one of {', '.join(NAMES)}")


def split_letters(normalize: Normalizer) -> Normalizer:
    """Return a normaliser that splits the text of another into letters: WER becomes the character error rate.

    It is for languages without spaces between words. A letter is a Unicode grapheme cluster, as in Whisper's option
    ``split_letters``; spaces do not count.
    """
    return replace(
        normalize,
        version=f"{normalize.version}, letters split",
        apply=lambda text: " ".join(regex.findall(r"\X", normalize(text))),
        splits_letters=True,
    )


def _of_transformers() -> str:
    return f"transformers {importlib.metadata.version('transformers')}"


def _librispeech(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"[^A-Z']+", " ", letters.upper())


def _gigaspeech(text: str) -> str:
    return " ".join(word for word in text.upper().replace("-", " ").split() if word not in NOT_SCORED)


def _of_whisper(name: str, spelling: Path | None) -> Normalizer:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    mapping, described = {}, "no spelling mapping"
    if spelling is not None:
        mapping = _read_spelling(spelling)
        digest = hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()[:8]
        described = f"{len(mapping)} spellings {digest}"
    version = f"{_of_transformers()}, {described}"
    whisper = EnglishTextNormalizer(mapping)
    if name == "whisper-english":
        return Normalizer(name=name, version=version, apply=whisper)
    fillers = re.compile(whisper.ignore_patterns)
    whisper.ignore_patterns = NOTHING  # removed before letters are combined: "m m" is an abbreviation, "mm" a filler

    def english(text: str) -> str:
        words = fillers.sub("", text.lower().replace("\u2019", "'"))
        combined = SINGLE_LETTERS.sub(lambda letters: re.sub(r"[^a-z]", "", letters[0]), words)
        # Whisper's normaliser maps 007 to 7 but "zero zero seven" to 007, and writes 1 as a word but 2 as a digit.
        named = LEADING_ZERO.sub(lambda digits: " ".join(DIGIT_NAMES[int(digit)] for digit in digits[0]), combined)
        numbers = re.sub(r"\bone\b", "1", whisper(named))
        return BETWEEN_DIGITS.sub(" ", numbers)

    return Normalizer(name=name, version=f"1, {version}", apply=english)


def _read_spelling(path: Path) -> dict[str, str]:
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({error}), expected a Whisper model's normalizer.json"
        ) from error
    if not isinstance(mapping, dict) or not all(isinstance(word, str) for word in mapping.values()):
        raise DataError(f"{path}: expected a JSON object that maps spellings to spellings, as in normalizer.json")
    return mapping

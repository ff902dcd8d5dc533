"""Languages of sets: codes, such as ``de``, and English names for prompts."""

import re

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from speechllm.errors import ConfigError

WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Codes of languages written without spaces between words: Chinese, Japanese, Thai, Lao, Burmese, Cantonese."""
LONGEST_CODE = 3  # letters


def language_code(language: str) -> str:
    """Return the code of a language given by code or English name, e.g. ``zh`` for ``zh-CN``; unknown names stay."""
    return TO_LANGUAGE_CODE.get(language.lower(), re.split("[-_]", language.lower())[0])


def language_name(language: str, where: str) -> str:
    """Return the English name of a language, such as ``German``.

    Args:
        language: a code of Whisper (``de``, ``zh-CN``), or an English name of any language.
        where: source to name in the error.

    Raises:
        ConfigError: if it is neither.
    """
    if name := LANGUAGES.get(language_code(language)):
        return name.title()
    if len(language) > LONGEST_CODE and re.fullmatch(r"[^\W\d_]+( [^\W\d_]+)*", language):
        return language.title()
    raise ConfigError(
        f"{where}: found the language {language!r}, expected one of Whisper's codes, such as de, or an English name, "
        "such as German"
    )

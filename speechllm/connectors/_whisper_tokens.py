"""Tokens of Whisper without case, and the tokens of each word of a text."""

import unicodedata
from typing import Any

from speechllm.byte_level import LOWER

WORD_CHARACTERS = "'\u2019\ufffd"
"""Characters of words besides letters: the apostrophes, and the mark of bytes that are a part of a letter."""


class WhisperTokens:
    """Vocabulary of Whisper, without special tokens; tokens with the same lower case are one.

    Args:
        tokenizer: tokenizer of Whisper.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        vocabulary = {piece: i for piece, i in tokenizer.get_vocab().items() if i not in special}
        forms: dict[str, list[int]] = {}
        for piece, i in sorted(vocabulary.items(), key=lambda one: one[1]):  # more frequent ones first
            forms.setdefault(piece.translate(LOWER), []).append(i)
        self.forms = list(forms.values())
        """Ids of each token in all cases, the most frequent one first."""
        self.ids = [vocabulary.get(piece, ids[0]) for piece, ids in forms.items()]
        """Id of each token: that of its lower case, or of its most frequent form if there is none."""
        self._pieces = list(forms)
        self._places = {piece: place for place, piece in enumerate(forms)}
        self._space = tokenizer.tokenize(" a")[0][0]
        self.begins = [piece.startswith(self._space) for piece in forms]
        """Whether each token begins a word."""
        texts = (self.text((place,)) for place in range(len(forms)))
        self.spoken = [any(_is_letter(one) for one in text) for text in texts]
        """Whether each token has a letter, an apostrophe or a part of a letter: neither punctuation nor a number."""
        self._spelled: dict[str, list[int]] = {}

    def words(self, text: str) -> list[list[int]]:
        """Return the tokens of each word of a text, as indices in ``ids``."""
        return [self._word(word) for word in text.lower().split()]

    def text(self, places: tuple[int, ...]) -> str:
        """Return the text of some tokens."""
        decoded: str = self._tokenizer.backend_tokenizer.decoder.decode([self._pieces[place] for place in places])
        return decoded

    @staticmethod
    def unscored(text: str) -> str:
        """Return the numbers and punctuation of a text, whose tokens are not ``spoken``."""
        return "".join(one for one in text if not one.isspace() and not _is_letter(one))

    def _word(self, word: str) -> list[int]:
        """Return the tokens of a word: those of its lower case, or of its capitalised form if these are fewer.

        Most names are one token with a capital letter.
        """
        if word not in self._spelled:
            # names of special tokens, such as <|en|>, are text
            forms = (
                self._tokenizer.tokenize(f" {form}", split_special_tokens=True) for form in (word, word.capitalize())
            )
            pieces = min(forms, key=len)
            self._spelled[word] = [self._places[piece.translate(LOWER)] for piece in pieces]
        return self._spelled[word]


def _is_letter(character: str) -> bool:
    """Return whether a character is a letter, a mark on a letter, or one of ``WORD_CHARACTERS``."""
    return character in WORD_CHARACTERS or unicodedata.category(character)[0] in "LM"

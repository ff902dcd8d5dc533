"""Subword units: a small set of frequent tokens of the LLM."""

import json
from typing import Any

from tokenizers import Tokenizer

from speechllm.byte_level import LOWER
from speechllm.errors import ConfigError


class SubwordUnits:
    """Byte-pair tokenizer with only the first merges of the LLM's tokenizer; its units are tokens of the LLM.

    The merges of byte-pair encoding (Sennrich et al., 2016, arXiv 1508.07909) are in order of frequency: with few
    merges, a rare word consists of several frequent units.

    Args:
        tokenizer: tokenizer of transformers.
        merges: number of merges.
        lower_case: whether units have no ASCII capitals; texts are converted to lower case.

    Raises:
        ConfigError: if the tokenizer is not a byte-pair tokenizer.
    """

    def __init__(self, tokenizer: Any, merges: int, lower_case: bool = False) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        content = json.loads(backend.to_str()) if backend is not None else {"model": {}}
        model = content["model"]
        if model.get("type") != "BPE":
            raise ConfigError(
                f"connector.bpe_merges: found a tokenizer of type {model.get('type')}, expected byte pairs (BPE); "
                "choose another connector"
            )
        model["merges"] = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"][:merges]]
        model["ignore_merges"] = False  # True would look up complete words
        special = {token["id"] for token in content.get("added_tokens", [])}
        content["added_tokens"] = []  # so that names of special tokens are ordinary text
        self._tokenizer = Tokenizer.from_str(json.dumps(content))
        pieces = {"".join(pair) for pair in model["merges"]}
        self._lower: dict[int, int] = LOWER if lower_case else {}
        self.ids = sorted(
            i
            for piece, i in model["vocab"].items()
            if i not in special and (len(piece) == 1 or piece in pieces) and piece == piece.translate(self._lower)
        )
        """Token ids of all units."""
        self._places = {one: place for place, one in enumerate(self.ids)}
        self._tokens = {i: token for token, i in model["vocab"].items() if i not in special}
        self._space = self._tokens[self._tokenizer.encode(" a", add_special_tokens=False).ids[0]][0]
        self.texts = [self._tokens[one].replace(self._space, " ") for one in self.ids]
        """Text of each unit, with a space before the first unit of a word; bytes beyond ASCII as in the vocabulary."""
        by_token = {token: i for i, token in self._tokens.items()}
        self._without_space = [by_token.get(self._tokens[one].removeprefix(self._space), one) for one in self.ids]
        self._known: dict[tuple[int, bool], list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Return the indices in ``ids`` of the units of ``text``; the first word is preceded by a space like others."""
        if not text.strip():
            return []
        text = text.strip().translate(self._lower)
        ids = self._tokenizer.encode(f" {text}", add_special_tokens=False).ids
        return [self._places[one] for one in ids if one in self._places]

    def units(self, token: int, first: bool = False) -> list[int]:
        """Return the indices in ``ids`` of the units of one token of the LLM; a special token has no units.

        The units of a text, in lower case if the units are, are the concatenated units of its tokens.

        Args:
            token: id of the token.
            first: whether the token begins a text; it is preceded by a space like other words.
        """
        if (token, first) not in self._known:
            text = self._tokens.get(token, "").translate(self._lower)
            if first and text and not text.startswith(self._space):
                text = self._space + text
            found = self._tokenizer.model.tokenize(text) if text else []
            self._known[token, first] = [self._places[piece.id] for piece in found]
        return self._known[token, first]

    def token(self, place: int, first: bool = False) -> int:
        """Return the LLM's token that is the unit ``ids[place]``; as the first of a text, without a space before it.

        A unit that is no token without its space keeps it.
        """
        return self._without_space[place] if first else self.ids[place]

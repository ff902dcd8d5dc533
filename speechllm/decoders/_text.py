"""Text to token ids, and messages to the text of a chat template."""

import json
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer

from speechllm.errors import ConfigError


def text_tokenizer(tokenizer: Any) -> Callable[[str], list[int]]:
    """Return a function from text to token ids that treats names of special tokens as ordinary text.

    The only special token in its results is the unknown token, for characters outside the vocabulary.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ == "BPE":  # merges of BPE never produce a special token
        return lambda text: tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    renamed = _without_special_names(json.loads(backend.to_str()), tokenizer.unk_token_id)
    return lambda text: renamed.encode(text, add_special_tokens=False).ids


def _without_special_names(content: dict[str, Any], unknown: int | None) -> Tokenizer:
    """Return a tokenizer with the special tokens of its vocabulary renamed to strings that occur in no text."""
    hidden = {token["id"] for token in content["added_tokens"] if token["special"]} - {unknown}
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
    model = content["model"]
    if model["type"] == "Unigram":  # pairs of a unit and its score, in the order of their ids
        model["vocab"] = [
            [f"\ufdd0{i}" if i in hidden or i == unknown else unit, score]
            for i, (unit, score) in enumerate(model["vocab"])
        ]
    else:
        model["vocab"] = {f"\ufdd0{i}" if i in hidden else word: i for word, i in model["vocab"].items()}
    return Tokenizer.from_str(json.dumps(content))


def chat_text(tokenizer: Any, message: str) -> str:
    """Return ``message`` as the user's turn of the tokenizer's chat template, up to the assistant's answer.

    Raises:
        ConfigError: if there is no template, or it raises an error, changes the message or omits it.
    """
    if not tokenizer.chat_template:
        raise ConfigError("prompt.template: 'chat' needs a chat template, but the LLM's tokenizer has none")
    fault = ""
    for content in (message, [{"type": "text", "text": message}]):  # some templates expect a list of parts
        turns = [{"role": "user", "content": content}]
        try:
            text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program and may raise errors of every class
            fault = fault or f"raises an error ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
            continue
        if text.count(message) == 1:
            return text
        fault = f"contains the user's message {text.count(message)} times"
    raise ConfigError(
        f"prompt.template: the chat template of the LLM's tokenizer {fault}, expected the message {message!r} once, "
        "unchanged; write the prompt as a text with <speech> instead of 'chat'"
    )

"""The prompt: what the LLM reads around the speech, saved with the model and used wherever it is.

A template holds ``<speech>`` once, ``{instruction}`` where one of the instructions goes, and maybe ``{context}`` where
the context of an utterance goes: a text such as hot words. Without a context nothing is there. Where template or
instructions hold ``{language}``, the English name of the language of the utterance goes.
"""

import zlib
from dataclasses import dataclass, replace

from speechllm.errors import ConfigError
from speechllm.interfaces import Decoder

SPEECH = "<speech>"
CONTEXT = "{context}"
LANGUAGE = "{language}"
INSTRUCTIONS = ("Transcribe the speech.",)
TEMPLATES = {
    "plain": "<speech>{instruction}",
    "vicuna": "USER: <Speech><speech></Speech> {instruction}\nASSISTANT:",
    "chat": "<speech>{instruction}",  # within the LLM's own chat template
}


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """A template and the instructions that fill it."""

    template: str = "chat"
    """plain, vicuna, chat (the LLM's own), or a text with <speech>, {instruction}, {context} and {language}."""
    instructions: tuple[str, ...] = INSTRUCTIONS
    """One is drawn per utterance and epoch in training; the first is used in decoding. May hold {language}."""
    context: str | None = None
    """Text with {context}, in its place in the template or else before <speech>; null: without contexts."""
    chat_text: str | None = None
    """Text of the chat template around <speech>{instruction}, recorded by training; null: rendered anew."""

    def __post_init__(self) -> None:
        """Check what YAML types cannot."""
        text = TEMPLATES.get(self.template, self.template)
        if text.count(SPEECH) != 1:
            raise ConfigError(
                f"template: {self.template!r} holds {SPEECH} {text.count(SPEECH)} times, expected one of "
                f"{', '.join(TEMPLATES)} or a text that holds it once"
            )
        if any(SPEECH in instruction for instruction in self.instructions):
            raise ConfigError(f"instructions: one holds {SPEECH}, which only the template may")
        if "{instruction}" not in TEMPLATES.get(self.template, self.template) and self.instructions != INSTRUCTIONS:
            raise ConfigError(f"instructions: the template {self.template!r} has no place for them, {{instruction}}")
        if self.chat_text is not None and self.chat_text.count(TEMPLATES["chat"]) != 1:
            raise ConfigError(
                f"chat_text: found {self.chat_text!r}, expected a text that holds {TEMPLATES['chat']} once"
            )
        if text.count(CONTEXT) > 1:
            raise ConfigError(f"template: {self.template!r} holds {CONTEXT} {text.count(CONTEXT)} times, expected once")
        if self.context is not None and (self.context.count(CONTEXT) != 1 or SPEECH in self.context):
            raise ConfigError(
                f"context: found {self.context!r}, expected a text that holds {CONTEXT} once, and no {SPEECH}"
            )
        if not self.instructions:
            raise ConfigError("instructions: the list is empty, expected at least one (it may be '')")

    @property
    def takes_context(self) -> bool:
        """Whether the prompt has a place for the context of an utterance."""
        return self.context is not None or CONTEXT in self.template

    @property
    def takes_language(self) -> bool:
        """Whether the prompt has a place for the language of an utterance."""
        return any(LANGUAGE in text for text in (self.template, *self.instructions))


class Prompt:
    """The token ids before and after the speech, for each instruction.

    Args:
        config: template and instructions.
        decoder: the LLM whose tokenizer and chat template are used.

    Attributes:
        config: the same, with the text of the chat template: templates may write the date, and trained models need
            the text that they were trained with.
    """

    def __init__(self, config: PromptConfig, decoder: Decoder) -> None:
        if config.template == "chat" and config.chat_text is None:
            config = replace(config, chat_text=decoder.chat(TEMPLATES["chat"]))
        self.config = config
        self._decoder = decoder
        self._parts = [self._tokenize(instruction, "", "") for instruction in config.instructions]

    def parts(
        self, utt_id: str, epoch: int | None, context: str = "", language: str = ""
    ) -> tuple[list[int], list[int]]:
        """Return the ids before and after the speech.

        Args:
            utt_id: of the utterance.
            epoch: of training; None in decoding.
            context: of the utterance; it has no effect in a prompt without a place for it.
            language: English name of the language of the utterance, likewise.
        """
        index = 0
        if epoch is not None:  # a hash and no random generator, so that a resumed run draws the same
            index = zlib.crc32(f"{utt_id} {epoch}".encode()) % len(self._parts)
        context = context.strip() if self.config.takes_context else ""
        if context or (language and self.config.takes_language):
            return self._tokenize(self.config.instructions[index], context, language)
        return self._parts[index]

    def _tokenize(self, instruction: str, context: str, language: str) -> tuple[list[int], list[int]]:
        text, begin = TEMPLATES.get(self.config.template, self.config.template), True
        if self.config.template == "chat":
            assert self.config.chat_text is not None
            text, begin = self.config.chat_text, False  # chat templates write the beginning token themselves
        if self.config.takes_context and CONTEXT not in text:
            text = text.replace(SPEECH, CONTEXT + SPEECH)
        text = text.replace("{instruction}", instruction).replace(LANGUAGE, language)
        before, after = text.split(SPEECH)
        return self._ids(before, context, begin=begin), self._ids(after, context, begin=False)

    def _ids(self, part: str, context: str, *, begin: bool) -> list[int]:
        """Return the ids of the text on one side of the speech.

        The names of special tokens in a context are text, so it is tokenised alone, with the spaces before it.
        """
        tokenize = self._decoder.tokenize
        head, place, tail = part.partition(CONTEXT)
        if not place or not context:
            return tokenize(head + tail, begin=begin, special=True)
        before, after = (self.config.context or CONTEXT).split(CONTEXT)
        head, tail = head + before, after + tail
        spaces = head[len(head.rstrip(" ")) :]
        ids = tokenize(head.rstrip(" "), begin=begin, special=True) + tokenize(spaces + context)
        return ids + tokenize(tail, special=True)

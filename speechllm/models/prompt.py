"""Prompt around the speech, saved with the model.

A template contains ``<speech>`` once, and may contain the placeholders ``{instruction}`` for one of the instructions,
``{context}`` for the context of an utterance, a text such as hot words, and ``{language}`` for the English name of its
language. ``{context}`` is removed for utterances without a context; instructions may contain ``{language}``, too.
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
    """Template and instructions.

    A template is plain, vicuna, chat (the LLM's own chat template), or a text with placeholders. In training, one of
    the instructions is drawn for each utterance and epoch; decoding uses the first. ``context`` is inserted at
    {context} in the template, or before <speech>. ``chat_text`` is recorded in training, see ``Prompt``.
    """

    template: str = "chat"
    """plain, vicuna, chat, or a text with <speech> and placeholders."""
    instructions: tuple[str, ...] = INSTRUCTIONS
    """Texts for {instruction}; they may contain {language}."""
    context: str | None = None
    """Text with {context} for utterances with a context; null: no contexts."""
    chat_text: str | None = None
    """Text of the chat template around <speech>{instruction}; null: rendered again."""

    def __post_init__(self) -> None:
        """Check the placeholders of the texts."""
        text = TEMPLATES.get(self.template, self.template)
        if text.count(SPEECH) != 1:
            raise ConfigError(
                f"template: {self.template!r} contains {SPEECH} {text.count(SPEECH)} times, expected one of "
                f"{', '.join(TEMPLATES)} or a text that contains it once"
            )
        if any(SPEECH in instruction for instruction in self.instructions):
            raise ConfigError(
                f"instructions: found one that contains {SPEECH}, expected it in the template only; remove it"
            )
        if "{instruction}" not in TEMPLATES.get(self.template, self.template) and self.instructions != INSTRUCTIONS:
            raise ConfigError(
                f"instructions: found {len(self.instructions)}, but the template {self.template!r} has no place for "
                "them; add {instruction} to the template"
            )
        if self.chat_text is not None and self.chat_text.count(TEMPLATES["chat"]) != 1:
            raise ConfigError(
                f"chat_text: found {self.chat_text!r}, expected a text that contains {TEMPLATES['chat']} once"
            )
        if text.count(CONTEXT) > 1:
            raise ConfigError(
                f"template: {self.template!r} contains {CONTEXT} {text.count(CONTEXT)} times, expected at most once"
            )
        if self.context is not None and (self.context.count(CONTEXT) != 1 or SPEECH in self.context):
            raise ConfigError(
                f"context: found {self.context!r}, expected a text that contains {CONTEXT} once, and no {SPEECH}"
            )
        if not self.instructions:
            raise ConfigError("instructions: found an empty list, expected at least one instruction (it may be '')")

    @property
    def takes_context(self) -> bool:
        """Whether the prompt has a place for the context of an utterance."""
        return self.context is not None or CONTEXT in self.template

    @property
    def takes_language(self) -> bool:
        """Whether the prompt has a place for the language of an utterance."""
        return any(LANGUAGE in text for text in (self.template, *self.instructions))


class Prompt:
    """Token ids before and after the speech, for each instruction.

    Args:
        config: template and instructions.
        decoder: the LLM, for its tokenizer and chat template.

    Attributes:
        config: ``config`` with the text of the chat template, because decoding needs the text from training, and a
            template may contain the current date.
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
            utt_id: id of the utterance.
            epoch: epoch of training; None in decoding.
            context: context of the utterance; ignored if the prompt has no place for it.
            language: English name of the language of the utterance; ignored if the prompt has no place for it.
        """
        index = 0
        if epoch is not None:  # a hash instead of a random generator, for equal values in a resumed training
            index = zlib.crc32(f"{utt_id} {epoch}".encode()) % len(self._parts)
        context = context.strip() if self.config.takes_context else ""
        if context or (language and self.config.takes_language):
            return self._tokenize(self.config.instructions[index], context, language)
        return self._parts[index]

    def _tokenize(self, instruction: str, context: str, language: str) -> tuple[list[int], list[int]]:
        text, begin = TEMPLATES.get(self.config.template, self.config.template), True
        if self.config.template == "chat":
            assert self.config.chat_text is not None
            text, begin = self.config.chat_text, False  # chat templates contain the beginning token
        if self.config.takes_context and CONTEXT not in text:
            text = text.replace(SPEECH, CONTEXT + SPEECH)
        text = text.replace("{instruction}", instruction).replace(LANGUAGE, language)
        before, after = text.split(SPEECH)
        return self._ids(before, context, begin=begin), self._ids(after, context, begin=False)

    def _ids(self, part: str, context: str, *, begin: bool) -> list[int]:
        """Return the ids of the text on one side of the speech.

        Names of special tokens in a context are ordinary text, so the context is tokenised separately, with the spaces
        before it.
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

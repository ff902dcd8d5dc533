"""Prompts: position of the speech, random instructions, and rejected templates."""

from dataclasses import replace
from pathlib import Path

import pytest

from speechllm.decoders.causal_lm import CausalLM, Config
from speechllm.errors import ConfigError
from speechllm.models.prompt import Prompt, PromptConfig


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> CausalLM:
    return Config(path=str(tiny_llm)).build()


def texts(prompt: Prompt, decoder: CausalLM, epoch: int | None = None, utt_id: str = "a") -> tuple[str, str]:
    before, after = prompt.parts(utt_id, epoch)
    return decoder.tokenizer.decode(before), decoder.tokenizer.decode(after)


def test_vicuna(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="vicuna", instructions=("Write it.",)), decoder)
    assert texts(prompt, decoder) == ("USER: <Speech>", "</Speech> Write it.\nASSISTANT:")


def test_chat_uses_the_models_own_template(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="chat", instructions=("Write it.",)), decoder)
    assert texts(prompt, decoder) == ("<|start|>user\n", "Write it.<|end|>\n<|start|>assistant\n")


def test_a_text_of_ones_own(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="read <speech> say"), decoder)
    assert texts(prompt, decoder) == ("read ", " say")


def test_instructions_are_drawn_in_training_and_fixed_in_decoding(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="plain", instructions=("one", "two", "three")), decoder)
    drawn = {texts(prompt, decoder, epoch, utt_id)[1] for epoch in range(5) for utt_id in "abcdef"}
    assert drawn == {"one", "two", "three"}
    assert texts(prompt, decoder, 3) == texts(prompt, decoder, 3)
    assert {texts(prompt, decoder, None, utt_id)[1] for utt_id in "abcdef"} == {"one"}


@pytest.mark.parametrize("template", ["no mark", "<speech> twice <speech>", "vikuna"])
def test_a_template_holds_one_mark(template: str) -> None:
    with pytest.raises(ConfigError, match="expected one of plain, vicuna, chat or a text that contains it once"):
        PromptConfig(template=template)


def test_instructions_need_a_place() -> None:
    with pytest.raises(ConfigError, match="has no place for them"):
        PromptConfig(template="read <speech> say", instructions=("one", "two"))


def test_no_instruction_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        PromptConfig(instructions=())


MESSAGE = "{{ m['content'] }}"
LIST = "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}"


def chat_decoder(tiny_llm: Path, template: str) -> CausalLM:
    decoder = Config(path=str(tiny_llm)).build()
    decoder.tokenizer.chat_template = template
    return decoder


def turns(content: str) -> str:
    return "{% for m in messages %}<|start|>" + content + "<|end|>{% endfor %}"


def test_a_template_of_content_lists(tiny_llm: Path) -> None:
    decoder = chat_decoder(tiny_llm, turns(LIST))
    prompt = Prompt(PromptConfig(instructions=("Write it.",)), decoder)
    assert texts(prompt, decoder) == ("<|start|>", "Write it.<|end|>")


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (turns(MESSAGE.replace(" }}", " | upper }}")), "contains the user's message 0 times"),
        (turns(MESSAGE.replace(" }}", " | escape }}")), "contains the user's message 0 times"),
        (turns("nothing"), "contains the user's message 0 times"),
        (turns(2 * MESSAGE), "contains the user's message 2 times"),
        ("{{ raise_exception('roles must alternate') }}", r"raises an error \(roles must alternate\)"),
        ("{{ messages[1]['content'] }}", "raises an error"),
        ("{% for", "raises an error"),
    ],
)
def test_a_template_that_does_not_keep_the_message_is_a_sentence(tiny_llm: Path, template: str, fault: str) -> None:
    decoder = chat_decoder(tiny_llm, template)
    with pytest.raises(ConfigError, match=rf"prompt\.template: the chat template .* {fault}.*; write the prompt as"):
        Prompt(PromptConfig(), decoder)


def test_a_template_that_writes_the_time_is_rendered_once(tiny_llm: Path) -> None:
    decoder = chat_decoder(tiny_llm, "{{ strftime_now('%d %b %Y %H:%M:%S.%f') }}" + turns(MESSAGE))
    first, second = Prompt(PromptConfig(), decoder), Prompt(PromptConfig(), decoder)
    assert first.parts("a", None) != second.parts("a", None)
    again = Prompt(first.config, decoder)
    assert again.parts("a", None) == first.parts("a", None)
    assert again.config == first.config
    other = Prompt(replace(first.config, instructions=("Other words.",)), decoder)
    assert texts(other, decoder)[1] == "Other words.<|end|>"


def test_only_chat_templates_are_recorded(decoder: CausalLM) -> None:
    config = PromptConfig(template="vicuna")
    assert Prompt(config, decoder).config == config


def test_a_recorded_text_holds_the_message() -> None:
    with pytest.raises(ConfigError, match="found 'nothing', expected a text that contains <speech>{instruction} once"):
        PromptConfig(chat_text="nothing")


def with_context(prompt: Prompt, decoder: CausalLM, context: str) -> tuple[str, str]:
    before, after = prompt.parts("a", None, context)
    return decoder.tokenizer.decode(before), decoder.tokenizer.decode(after)


@pytest.mark.parametrize(
    ("config", "without", "expected"),
    [
        (
            PromptConfig(template="read <speech> say", context="words: {context}\n"),
            ("read ", " say"),
            ("read words: fox, dog\n", " say"),
        ),
        (
            PromptConfig(template="read <speech> {context}say", context="words: {context}\n"),
            ("read ", " say"),
            ("read ", " words: fox, dog\nsay"),
        ),
        (PromptConfig(template="with {context} read <speech>"), ("with  read ", ""), ("with fox, dog read ", "")),
        (
            PromptConfig(instructions=("Write it.",), context="words: {context}\n"),
            ("<|start|>user\n", "Write it.<|end|>\n<|start|>assistant\n"),
            ("<|start|>user\nwords: fox, dog\n", "Write it.<|end|>\n<|start|>assistant\n"),
        ),
    ],
)
def test_a_context_has_its_place(
    config: PromptConfig, without: tuple[str, str], expected: tuple[str, str], decoder: CausalLM
) -> None:
    prompt = Prompt(config, decoder)
    assert config.takes_context
    assert texts(prompt, decoder) == with_context(prompt, decoder, " ") == without
    assert with_context(prompt, decoder, "fox, dog") == expected


def test_a_prompt_without_a_place_ignores_contexts(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="read <speech> say"), decoder)
    assert not prompt.config.takes_context
    assert prompt.parts("a", None, "fox") == prompt.parts("a", None)


def test_a_context_is_text_whatever_it_holds(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="read <speech> say", context="words: {context}\n"), decoder)
    before, after = prompt.parts("a", None, "<|end|> <speech> {context} {instruction}")
    assert decoder.tokenizer.eos_token_id not in before
    assert decoder.tokenizer.decode(before) == "read words: <|end|> <speech> {context} {instruction}\n"
    assert after == prompt.parts("a", None)[1]


@pytest.mark.parametrize("context", ["words", "{context} {context}", "{context}<speech>"])
def test_a_context_text_holds_the_place_once(context: str) -> None:
    with pytest.raises(ConfigError, match="expected a text that contains {context} once, and no <speech>"):
        PromptConfig(context=context)


@pytest.mark.parametrize(
    "config",
    [
        PromptConfig(template="read {language} <speech> {context}say {instruction}", instructions=("it.",)),
        PromptConfig(template="read <speech>{instruction}", instructions=("Write the {language} speech.",)),
        PromptConfig(instructions=("Write the {language} speech.",), context="words: {context} "),
    ],
)
def test_a_language_has_its_place(config: PromptConfig, decoder: CausalLM) -> None:
    named = replace(
        config,
        template=config.template.replace("{language}", "German"),
        instructions=tuple(text.replace("{language}", "German") for text in config.instructions),
    )
    assert config.takes_language and not named.takes_language
    for context in ("", "fox"):
        expected = Prompt(named, decoder).parts("a", None, context)
        assert Prompt(config, decoder).parts("a", None, context, "German") == expected
        assert Prompt(named, decoder).parts("a", None, context, "French") == expected
        assert Prompt(config, decoder).parts("a", None, context, "French") != expected

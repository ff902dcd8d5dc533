"""Prompts: where the speech goes, what is drawn, what is refused."""

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
    prompt = Prompt(PromptConfig(template="hear <speech> say"), decoder)
    assert texts(prompt, decoder) == ("hear ", " say")


def test_instructions_are_drawn_in_training_and_fixed_in_decoding(decoder: CausalLM) -> None:
    prompt = Prompt(PromptConfig(template="plain", instructions=("one", "two", "three")), decoder)
    drawn = {texts(prompt, decoder, epoch, utt_id)[1] for epoch in range(5) for utt_id in "abcdef"}
    assert drawn == {"one", "two", "three"}
    assert texts(prompt, decoder, 3) == texts(prompt, decoder, 3)
    assert {texts(prompt, decoder, None, utt_id)[1] for utt_id in "abcdef"} == {"one"}


@pytest.mark.parametrize("template", ["no mark", "<speech> twice <speech>", "vikuna"])
def test_a_template_holds_one_mark(template: str) -> None:
    with pytest.raises(ConfigError, match="expected one of plain, vicuna, chat or a text that holds it once"):
        PromptConfig(template=template)


def test_instructions_need_a_place() -> None:
    with pytest.raises(ConfigError, match="has no place for them"):
        PromptConfig(template="hear <speech> say", instructions=("one", "two"))


def test_no_instruction_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        PromptConfig(instructions=())

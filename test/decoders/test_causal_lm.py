"""The LLM: tokens, loss positions, and generation that does not depend on batch mates."""

import logging
from pathlib import Path

import pytest
import torch
import transformers

from speechllm.decoders.causal_lm import CausalLM, Config
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions
from speechllm.lora import LoraOptions


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> CausalLM:
    return Config(path=str(tiny_llm)).build().eval()


def prompts_of(decoder: CausalLM, *texts: str) -> list[torch.Tensor]:
    with torch.no_grad():
        return [decoder.embed(torch.tensor(decoder.tokenize(text))) for text in texts]


def test_tokenize(decoder: CausalLM) -> None:
    ids = decoder.tokenize("the lazy dog", end=True)
    assert ids[-1] == decoder.tokenizer.eos_token_id
    assert decoder.tokenizer.decode(ids[:-1]) == "the lazy dog"
    assert decoder.tokenize("") == []


def test_selected_logits_are_those_of_the_whole_sequence(decoder: CausalLM) -> None:
    embeds_BUE = torch.randn(2, 9, 48)
    mask_BU = torch.arange(9) < torch.tensor([[9], [6]])
    select_BU = torch.zeros(2, 9, dtype=torch.bool)
    select_BU[0, 5:9] = select_BU[1, 3:6] = True
    logits = decoder.logits(embeds_BUE, mask_BU, select_BU)
    whole = decoder.model(inputs_embeds=embeds_BUE, attention_mask=mask_BU.long()).logits
    torch.testing.assert_close(logits, whole[select_BU], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3, "nbest": 2}, {"no_repeat_ngram": 2}])
def test_batch_equals_single(decoder: CausalLM, options: dict) -> None:
    search = GenerationOptions(**options)
    prompts = prompts_of(decoder, "the quick brown fox", "she had", "all year all year all year all")
    max_new_tokens = [6, 11, 3]
    together = decoder.generate(prompts, max_new_tokens, search)
    for prompt, limit, hypotheses in zip(prompts, max_new_tokens, together, strict=True):
        alone = decoder.generate([prompt], [limit], search)[0]
        assert [h.text for h in alone] == [h.text for h in hypotheses]
        assert alone[0].score == pytest.approx(hypotheses[0].score, abs=1e-4)
        assert len(hypotheses) == search.nbest


def test_greedy_equals_step_by_step_argmax(decoder: CausalLM) -> None:
    ids = decoder.tokenize("the lazy")
    expected: list[int] = []
    with torch.no_grad():
        for _ in range(8):
            token = int(decoder.model(torch.tensor([ids + expected])).logits[0, -1].argmax())
            expected.append(token)
    end = decoder.tokenizer.eos_token_id
    expected = expected[: expected.index(end)] if end in expected else expected
    hypothesis = decoder.generate(prompts_of(decoder, "the lazy"), [8], GenerationOptions())[0][0]
    assert (hypothesis.num_tokens, hypothesis.truncated) == (len(expected), len(expected) == 8)
    assert hypothesis.text == " ".join(decoder.tokenizer.decode(expected, skip_special_tokens=True).split())


def test_the_cap_is_each_utterances_own(decoder: CausalLM) -> None:
    prompts = prompts_of(decoder, "the quick brown fox", "the quick brown fox")
    short, long = (hypotheses[0] for hypotheses in decoder.generate(prompts, [2, 7], GenerationOptions()))
    assert (short.num_tokens, short.truncated) == (2, True)
    assert long.num_tokens <= 7
    assert long.text.startswith(short.text)


def test_greedy_score_is_the_mean_log_probability(decoder: CausalLM) -> None:
    ids = decoder.tokenize("the lazy")
    total, generated = 0.0, list(ids)
    with torch.no_grad():
        for _ in range(4):
            best = decoder.model(torch.tensor([generated])).logits[0, -1].log_softmax(-1).max(-1)
            total += float(best.values)
            generated.append(int(best.indices))
    prompts = prompts_of(decoder, "the lazy", "the quick brown fox")
    hypothesis = decoder.generate(prompts, [4, 9], GenerationOptions())[0][0]
    assert hypothesis.score == pytest.approx(total / 4, abs=1e-4)


def test_model_defaults_of_sampling_are_gone(tiny_llm: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llm)
    model.generation_config = transformers.GenerationConfig(do_sample=True, temperature=3.0, top_p=0.5)
    decoder = CausalLM(model, transformers.AutoTokenizer.from_pretrained(tiny_llm)).eval()
    prompts = prompts_of(decoder, "the quick")
    texts = {decoder.generate(prompts, [12], GenerationOptions())[0][0].text for _ in range(3)}
    assert len(texts) == 1


def test_frozen_or_lora(tiny_llm: Path) -> None:
    frozen = Config(path=str(tiny_llm)).build().train()
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not frozen.model.training
    adapted = Config(path=str(tiny_llm), lora=LoraOptions(rank=2)).build()
    trainable = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)
    with pytest.raises(ConfigError, match="decoder.lora.modules"):
        Config(path=str(tiny_llm), lora=LoraOptions(modules=("nothing",))).build()


def test_missing_directory_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"decoder\.path: no directory /nowhere"):
        Config(path="/nowhere").build()


@pytest.mark.parametrize("options", [{}, {"num_beams": 4, "nbest": 4}])
def test_tokens_and_their_log_probabilities(decoder: CausalLM, options: dict) -> None:
    prompts = prompts_of(decoder, *(f"the {word} dog" for word in ("lazy", "quick", "brown", "fox", "all", "year")))
    found = decoder.generate(prompts, [2] * len(prompts), GenerationOptions(**options))
    compared = 0
    for prompt, hypothesis in [(prompt, one) for prompt, nbest in zip(prompts, found, strict=True) for one in nbest]:
        text = "".join(piece for piece, _ in hypothesis.tokens)
        assert len(hypothesis.tokens) == hypothesis.num_tokens
        assert " ".join(text.split()) == hypothesis.text
        ids = torch.tensor(decoder.tokenize(text), dtype=torch.long)
        if len(ids) != hypothesis.num_tokens or decoder.tokenizer.decode(ids) != text or "\ufffd" in text:
            continue  # the text has another tokenisation than the one that was found
        with torch.no_grad():
            embeds_BUE = torch.cat([prompt, decoder.embed(ids)])[None]
            log_probs_UV = decoder.model(inputs_embeds=embeds_BUE).logits[0, len(prompt) - 1 :].log_softmax(-1)
        expected = log_probs_UV[range(len(ids)), ids].tolist()
        assert [log_prob for _, log_prob in hypothesis.tokens] == pytest.approx(expected, abs=1e-4)
        compared += 1
    assert compared > 0


def test_greedy_search_with_a_length_penalty_causes_no_warning(
    decoder: CausalLM, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    decoder.generate(prompts_of(decoder, "she had"), [3], GenerationOptions(length_penalty=0.5))
    assert "generation flags" not in caplog.text

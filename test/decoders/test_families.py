"""LLMs of many families: speech in the prompt, padding, packing, recomputed activations, and rejected models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_families import NO_SPEECH, NOT_PACKED, PACKED, tiny
from transformers import AutoTokenizer

from speechllm.decoders import _checks, _packing
from speechllm.decoders.causal_lm import CausalLM
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions

TEXTS = ("the quick brown fox", "she had", "your dark suit in greasy wash water")


@pytest.fixture(scope="module")
def tokenizer(tiny_llm: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llm)


def batch_of(decoder: CausalLM) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Return padded embeddings of some texts, their mask, and the token ids."""
    ids = [torch.tensor(decoder.tokenize(text)) for text in TEXTS]
    with torch.no_grad():
        embeds = [decoder.embed(one) for one in ids]
    embeds_BUE = torch.nn.utils.rnn.pad_sequence(embeds, batch_first=True)
    lens_B = torch.tensor([len(one) for one in ids])
    return embeds_BUE, torch.arange(embeds_BUE.shape[1]) < lens_B[:, None], ids


@pytest.mark.parametrize("family", [*PACKED, *NOT_PACKED])
def test_padded_embeddings_have_the_logits_of_their_tokens(family: str, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    embeds_BUE, mask_BU, ids = batch_of(decoder)
    with torch.no_grad():
        expected = torch.cat([decoder.model(one[None]).logits[0] for one in ids])
        found = decoder.logits(embeds_BUE, mask_BU, mask_BU)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)  # measured: 7e-6


@pytest.mark.parametrize("family", [*PACKED, *NOT_PACKED])
def test_batches_padded_on_the_left_change_no_hypothesis(family: str, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    embeds_BUE, _, ids = batch_of(decoder)
    prompts = [embeds_UE[: len(one)] for embeds_UE, one in zip(embeds_BUE, ids, strict=True)]
    together = decoder.generate(prompts, [4] * 3, GenerationOptions())
    for prompt, nbest in zip(prompts, together, strict=True):
        alone = decoder.generate([prompt], [4], GenerationOptions())[0][0]
        assert (alone.text, alone.score) == (nbest[0].text, pytest.approx(nbest[0].score, abs=1e-4))


@pytest.mark.parametrize("family", PACKED)
def test_packed_sequences_have_the_logits_of_padded_ones(family: str, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    embeds_BUE, mask_BU, _ = batch_of(decoder)
    with torch.no_grad():
        padded = decoder.logits(embeds_BUE, mask_BU, mask_BU)
        decoder.pack_sequences()
        packed = decoder.logits(embeds_BUE, mask_BU, mask_BU)
    torch.testing.assert_close(packed, padded, atol=1e-4, rtol=0)  # measured: 7e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", NOT_PACKED)
def test_packing_that_changes_logits_is_refused(family: str, dtype: torch.dtype, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer).to(dtype), tokenizer).eval()
    with pytest.raises(ConfigError, match=r"train\.packing: .*; set it to false"):
        decoder.pack_sequences()


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen3_moe", "olmo2"])
def test_rounding_in_half_precision_is_no_reason_to_refuse_packing(family: str, tokenizer: Any) -> None:
    CausalLM(tiny(family, tokenizer).bfloat16(), tokenizer).eval().pack_sequences()


@pytest.mark.parametrize(("family", "option"), [("gemma2", "softcap"), ("gpt_oss", "s_aux")])
def test_the_kernel_is_given_no_attention_that_it_cannot_compute(
    family: str, option: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_packing, "_has_kernel", lambda *_: True)
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    with pytest.raises(ConfigError, match=f"found the option {option} in the LLM's attention"):
        decoder.pack_sequences()


def test_a_window_that_only_the_mask_holds_is_refused_where_it_would_matter(tokenizer: Any) -> None:
    window = {"use_sliding_window": True, "sliding_window": 6, "layer_types": ["sliding_attention"] * 2}
    decoder = CausalLM(tiny("qwen2_moe", tokenizer, **window), tokenizer).eval()
    embeds_BUE, mask_BU, _ = batch_of(decoder)
    decoder.pack_sequences()
    with pytest.raises(ConfigError, match="the LLM attends only to the last 6"):
        decoder.logits(embeds_BUE, mask_BU, mask_BU)


@pytest.mark.parametrize("family", NO_SPEECH)
def test_an_llm_that_cannot_continue_speech_is_refused(family: str, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    with pytest.raises(ConfigError, match=rf"decoder\.path: a {family} model .*; choose another LLM"):
        decoder.check()
    with pytest.raises(ConfigError, match="choose another LLM"):
        decoder.generate([torch.randn(3, 32)], [2], GenerationOptions())


def test_checks_change_neither_modes_nor_random_states(tokenizer: Any) -> None:
    decoder = CausalLM(tiny("gpt2", tokenizer), tokenizer)
    decoder.checkpoint_activations()
    decoder.train()
    modes, state = [one.training for one in decoder.modules()], torch.get_rng_state()
    decoder.pack_sequences()
    assert [one.training for one in decoder.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_checks_are_done_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("speechllm.decoders.causal_lm.check_embeddings", lambda *_: calls.append("embeddings"))
    monkeypatch.setattr("speechllm.decoders.causal_lm.check_packing", lambda *_: calls.append("packing"))
    decoder = CausalLM(tiny("llama", tokenizer), tokenizer).eval()
    embeds_BUE, mask_BU, _ = batch_of(decoder)
    for _ in range(2):
        decoder.pack_sequences()
        decoder.logits(embeds_BUE, mask_BU, mask_BU)
    assert calls == ["embeddings", "packing"]


def test_logits_of_padding_are_not_compared() -> None:
    expected_UV = torch.randn(3, 8)
    expected_UV[:, -2:] = torch.tensor([float("-inf"), torch.finfo(torch.float32).min])
    assert _checks.distance(expected_UV, expected_UV) == 0
    assert _checks.distance(expected_UV + torch.randn(3, 8), expected_UV) > 0.3


@pytest.mark.parametrize("family", ["gpt2", "opt", "falcon"])
def test_recomputed_activations_have_no_dropout(family: str, tokenizer: Any) -> None:
    dropout = {
        "gpt2": {"attn_pdrop": 0.5, "resid_pdrop": 0.5, "embd_pdrop": 0.5},
        "opt": {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5},
        "falcon": {"hidden_dropout": 0.5, "attention_dropout": 0.5},
    }
    decoder = CausalLM(tiny(family, tokenizer, **dropout[family]), tokenizer).eval()
    embeds_BUE, mask_BU, _ = batch_of(decoder)
    expected = decoder.logits(embeds_BUE, mask_BU, mask_BU).detach()
    decoder.checkpoint_activations()
    decoder.train()
    calls = []
    for layer in decoder._recomputed:
        next(layer.children()).register_forward_pre_hook(lambda *_: calls.append("layer"))
    embeds_BUE.requires_grad_()
    found = decoder.logits(embeds_BUE, mask_BU, mask_BU)
    torch.testing.assert_close(found.detach(), expected, atol=1e-5, rtol=0)
    forward = len(calls)
    found.logsumexp(-1).sum().backward()
    assert len(calls) == 2 * forward == 4
    assert torch.isfinite(embeds_BUE.grad[mask_BU]).all()
    assert not decoder.eval().training and not any(layer.training for layer in decoder._recomputed)


@pytest.mark.parametrize("family", ["gpt2", "opt", "gptj", "mpt"])
def test_limited_positions_bound_prompts_and_hypotheses(family: str, tokenizer: Any) -> None:
    decoder = CausalLM(tiny(family, tokenizer), tokenizer).eval()
    assert decoder.max_positions == 64
    torch.manual_seed(1)
    prompts = [torch.randn(60, 32), torch.randn(20, 32)]
    together = decoder.generate(prompts, [30, 50], GenerationOptions())
    for prompt, limit, nbest in zip(prompts, (30, 50), together, strict=True):
        assert nbest == decoder.generate([prompt], [limit], GenerationOptions())[0]
        assert nbest[0].num_tokens <= 64 - len(prompt)
    with pytest.raises(ConfigError, match="found a sequence of 65 tokens .* has 64 positions"):
        decoder.generate([torch.randn(64, 32)], [5], GenerationOptions())
    with pytest.raises(ConfigError, match="found a sequence of 70 tokens"):
        mask_BU = torch.ones(1, 70, dtype=torch.bool)
        decoder.logits(torch.randn(1, 70, 32), mask_BU, mask_BU)


def test_computed_positions_bound_nothing(tokenizer: Any) -> None:
    decoder = CausalLM(tiny("llama", tokenizer), tokenizer).eval()
    assert decoder.max_positions is None
    assert decoder.generate([torch.randn(64, 32)], [2], GenerationOptions())[0][0].num_tokens <= 2

"""Packed sequences: the same loss and gradients as padded ones, and nothing else changed."""

from pathlib import Path

import pytest
import torch
import transformers

from speechllm.decoders.causal_lm import CausalLM, Config, LoraOptions
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions

LENS = torch.tensor([9, 6, 1, 12])


def loss_of(decoder: CausalLM, embeds_BUE: torch.Tensor) -> torch.Tensor:
    mask_BU = torch.arange(embeds_BUE.shape[1]) < LENS[:, None]
    select_BU = mask_BU & (torch.arange(embeds_BUE.shape[1]) >= LENS[:, None] // 2)
    logits_UV = decoder.logits(embeds_BUE, mask_BU, select_BU)
    return torch.nn.functional.cross_entropy(logits_UV, torch.arange(len(logits_UV)))


@pytest.mark.parametrize("recompute", [False, True])
def test_loss_and_gradients_are_those_of_padded_sequences(tiny_llm: Path, recompute: bool) -> None:
    losses, of_input, of_lora = [], [], []
    for packing in (False, True):
        torch.manual_seed(1)
        decoder = Config(path=str(tiny_llm), lora=LoraOptions(dropout=0.0)).build().train()
        if packing:
            decoder.pack_sequences()
        if recompute:
            decoder.checkpoint_activations()
        embeds_BUE = torch.randn(4, 12, 48, requires_grad=True)
        loss = loss_of(decoder, embeds_BUE)
        loss.backward()
        losses.append(loss.item())
        of_input.append(embeds_BUE.grad)
        of_lora.append(torch.cat([p.grad.flatten() for p in decoder.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    torch.testing.assert_close(*of_input, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(*of_lora, atol=1e-6, rtol=1e-4)
    assert of_lora[0].abs().max() > 0


def test_generation_is_the_same_after_packed_training(tiny_llm: Path) -> None:
    decoder = Config(path=str(tiny_llm)).build().eval()
    decoder.pack_sequences()
    prompts = [torch.randn(5, 48), torch.randn(3, 48)]
    before = decoder.generate(prompts, [7, 7], GenerationOptions())
    with torch.inference_mode():
        loss_of(decoder, torch.randn(4, 12, 48))
    assert decoder.generate(prompts, [7, 7], GenerationOptions()) == before


def test_a_sliding_window_is_refused_where_it_would_matter(tmp_path: Path, tiny_llm: Path) -> None:
    config = transformers.MistralConfig(
        vocab_size=400,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=11,
    )
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(tmp_path)
    decoder = Config(path=str(tmp_path)).build()
    decoder.pack_sequences()
    with pytest.raises(ConfigError, match=r"a sequence of 12 tokens, but the LLM attends to the last 11 only"):
        loss_of(decoder, torch.randn(4, 12, 48))

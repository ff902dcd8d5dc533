"""Adapters that are merged into the weights: the same scores, also where layers share a weight."""

from pathlib import Path

import pytest
import torch
from toy_families import tiny
from transformers import AutoTokenizer

from speechllm.decoders.causal_lm import CausalLM
from speechllm.interfaces import GenerationOptions
from speechllm.lora import LoraOptions


def scores(decoder: CausalLM) -> tuple[torch.Tensor, str]:
    """Return the logits of a text, and its continuation."""
    with torch.no_grad():
        embeds_UE = decoder.embed(torch.tensor(decoder.tokenize("the lazy dog")))
        mask_BU = torch.ones(1, len(embeds_UE), dtype=torch.bool)
        logits_UV = decoder.logits(embeds_UE[None], mask_BU, mask_BU)
        return logits_UV, decoder.generate([embeds_UE], [8], GenerationOptions())[0][0].text


@pytest.mark.parametrize("modules", [("q_proj", "v_proj"), ("lm_head",), ("q_proj", "lm_head"), ("embed_tokens",)])
@pytest.mark.parametrize("is_tied", [True, False])
def test_merging_changes_no_score(tiny_llm: Path, modules: tuple[str, ...], is_tied: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llm)
    model = tiny("llama", tokenizer, tie_word_embeddings=is_tied)
    decoder = CausalLM(model, tokenizer, LoraOptions(rank=2, dropout=0.0, modules=modules)).eval()
    torch.manual_seed(3)
    for name, parameter in decoder.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    before = scores(decoder)
    decoder.merge_adapters()
    after = scores(decoder)
    torch.testing.assert_close(after[0], before[0], atol=1e-3, rtol=0)  # measured: 6e-5
    assert after[1] == before[1]
    assert not any("lora_" in name for name, _ in decoder.named_parameters())

"""Packed sequences: the same loss and gradients as padded ones, and nothing else changed."""

from pathlib import Path

import pytest
import torch
import transformers

from speechllm.decoders import _packing
from speechllm.decoders.causal_lm import CausalLM, Config
from speechllm.errors import ConfigError
from speechllm.interfaces import GenerationOptions
from speechllm.lora import LoraOptions

LENS = torch.tensor([9, 6, 1, 12])


def loss_of(decoder: CausalLM, embeds_BUE: torch.Tensor) -> torch.Tensor:
    positions_U, lens_B = torch.arange(embeds_BUE.shape[1]), LENS
    mask_BU = positions_U < lens_B[:, None]
    select_BU = mask_BU & (positions_U >= lens_B[:, None] // 2)
    device = embeds_BUE.device
    logits_UV = decoder.logits(embeds_BUE, mask_BU, select_BU)
    return torch.nn.functional.cross_entropy(logits_UV, torch.arange(len(logits_UV), device=device))


def attend_as_the_kernel_is_said_to(
    query_UHD: torch.Tensor,
    key_UHD: torch.Tensor,
    value_UHD: torch.Tensor,
    starts: torch.Tensor,
    _: torch.Tensor,
    longest: int,
    *__: int,
    scale: float | None,
    window_size: tuple[int, int],
) -> torch.Tensor:
    """Do what ``torch.nn.attention.varlen.varlen_attn`` does, on a CPU."""
    lens = starts.diff().tolist()
    assert (window_size, starts.dtype, longest) == ((-1, 0), torch.int32, max(lens))
    parts = zip(*(x.transpose(0, 1).split(lens, dim=1) for x in (query_UHD, key_UHD, value_UHD)), strict=True)
    shares = {"is_causal": True, "scale": scale, "enable_gqa": True}  # heads that share keys and values, too
    found = [torch.nn.functional.scaled_dot_product_attention(*one, **shares) for one in parts]
    return torch.cat(found, dim=1).transpose(0, 1)


@pytest.mark.parametrize(("recompute", "kernel"), [(False, False), (True, False), (False, True)])
def test_loss_and_gradients_are_those_of_padded_sequences(
    tiny_llm: Path, recompute: bool, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel:
        monkeypatch.setattr(_packing, "_has_kernel", lambda *_: True)
        monkeypatch.setattr(_packing, "varlen_attn", attend_as_the_kernel_is_said_to)
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


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_in_bfloat16_the_loss_is_that_of_padded_sequences(tmp_path: Path, tiny_llm: Path, device: str) -> None:
    sizes = {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16}
    config = transformers.LlamaConfig.from_pretrained(tiny_llm, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    losses = []
    for packing in (False, True):
        torch.manual_seed(1)
        decoder = Config(path=str(tmp_path), tokenizer=str(tiny_llm)).build(torch.bfloat16).to(device)
        if packing:
            decoder.pack_sequences()
        embeds_BUE = torch.randn(4, 12, 48, dtype=torch.bfloat16, device=device, requires_grad=True)
        loss = loss_of(decoder, embeds_BUE)
        loss.backward()
        losses.append((loss.item(), embeds_BUE.grad.norm().item()))
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)


def test_adapters_have_no_part_in_the_check(tiny_llm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a trained model can make rounding errors of half precision large."""
    decoder = Config(path=str(tiny_llm), lora=LoraOptions(modules=("q_proj", "v_proj"))).build().eval()
    for name, one in decoder.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(one)
            one.requires_grad_("q_proj" in name)
    embeds_BUE, mask_BU = torch.randn(1, 12, 48), torch.ones(1, 12, dtype=torch.bool)
    checked = []
    name = "speechllm.decoders.causal_lm.check_packing"
    monkeypatch.setattr(name, lambda logits, *_: checked.append(logits(embeds_BUE, mask_BU, mask_BU, packed=False)))
    modes = [one.requires_grad for one in decoder.parameters()]
    decoder.pack_sequences()
    assert [one.requires_grad for one in decoder.parameters()] == modes
    adapted = decoder.logits(embeds_BUE, mask_BU, mask_BU)
    with decoder.model.disable_adapter():
        base = decoder.logits(embeds_BUE, mask_BU, mask_BU)
    torch.testing.assert_close(checked[0], base)
    assert not torch.allclose(adapted, base)


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
    with pytest.raises(ConfigError, match=r"a sequence of 12 tokens, but the LLM attends only to the last 11"):
        loss_of(decoder, torch.randn(4, 12, 48))

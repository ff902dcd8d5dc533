"""Tiny LLMs of many families of transformers, with random weights and one tokenizer."""

from typing import Any

import torch
import transformers

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "max_position_embeddings": 64,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
OPT = {
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "init_std": 0.3,
}
HEADS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
PER_LAYER = {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0, "sliding_window": 64}
PACKED: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "mistral": {**SIZES, "sliding_window": 64},
    "qwen2": SIZES,
    "qwen3": SIZES,
    "phi": SIZES,
    "gemma": SIZES,
    "gemma3_text": {**SIZES, "sliding_window": 64, "query_pre_attn_scalar": 8},
    "gpt2": GPT,
    "gpt_neox": SIZES,
    "gptj": {**GPT, "rotary_dim": 8},
    "opt": OPT,
    "falcon": HEADS,
    "olmo2": SIZES,
    "starcoder2": {**SIZES, "sliding_window": None},
    "granite": SIZES,
    "mixtral": {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {**SIZES, **EXPERTS},
}
"""Families whose packed sequences are scored as padded ones."""
NOT_PACKED: dict[str, dict[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64, "initializer_range": 0.3},
    "gemma2": {**SIZES, "sliding_window": 64, "query_pre_attn_scalar": 8},
    "gpt_oss": {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 64},
    "stablelm": SIZES,
    "nemotron": SIZES,
    "lfm2": {**SIZES, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_ff_dim": 64},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "initializer_range": 0.3},
    "falcon_h1": {**SIZES, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8},
    "recurrent_gemma": {**SIZES, "lru_width": 32, "attention_window_size": 64, "num_hidden_layers": 3},
}
"""Families whose packed sequences are not, each for a reason of its own."""
NO_SPEECH: dict[str, dict[str, Any]] = {
    "gemma4_text": {**SIZES, **PER_LAYER, "global_head_dim": 8},
    "gemma3n_text": {**SIZES, **PER_LAYER, "activation_sparsity_pattern": None, "laurel_rank": 4},
}
"""Families that cannot continue prompts with speech in them."""
ALL = {**PACKED, **NOT_PACKED, **NO_SPEECH, "qwen2_moe": {**SIZES, **EXPERTS, "shared_expert_intermediate_size": 32}}


def tiny(family: str, tokenizer: Any, **options: Any) -> Any:
    """Return a tiny LLM of a family."""
    sizes = {**ALL[family], "vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if family in ("gemma3n_text", "gemma4_text"):
        sizes |= {"vocab_size_per_layer_input": len(tokenizer), "layer_types": ["sliding_attention", "full_attention"]}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **{**sizes, **options})
    model = transformers.AutoModelForCausalLM.from_config(config)
    if family == "gemma3n_text":  # which begins with a zero where trained ones have none
        for name, parameter in model.named_parameters():
            if "correct_output_scale" in name:
                torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()

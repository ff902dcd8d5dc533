"""Base models are rejected if their weights do not match their configuration."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechllm.decoders import causal_lm
from speechllm.encoders import hf_speech, whisper
from speechllm.errors import ConfigError

State = dict[str, Tensor]


def changed(source: Path, target: Path, change: Callable[[State], State], **config: object) -> str:
    """Copy a model with changed weights and settings; return the path."""
    shutil.copytree(source, target)
    file = target / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    settings = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(settings))
    return str(target)


def without(part: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if part not in name}


def unchanged(state: State) -> State:
    return state


def test_a_missing_layer_of_the_llm_is_named(tiny_llm: Path, tmp_path: Path) -> None:
    path = changed(tiny_llm, tmp_path / "llm", without("layers.1.self_attn"))
    with pytest.raises(ConfigError, match=r"decoder\.path: .*model\.layers\.1\.self_attn\.k_proj.*missing;"):
        causal_lm.Config(path=path).build()


def test_a_layer_too_many_is_named(tiny_llm: Path, tmp_path: Path) -> None:
    path = changed(tiny_llm, tmp_path / "llm", unchanged, num_hidden_layers=1)
    with pytest.raises(ConfigError, match=r"model\.layers\.1\.input_layernorm\.weight, .* 5 others unexpected"):
        causal_lm.Config(path=path).build()


def test_a_bias_that_the_model_does_not_have_is_named(tiny_llm: Path, tmp_path: Path) -> None:
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.ones(48)}
    path = changed(tiny_llm, tmp_path / "llm", lambda state: state | bias)
    with pytest.raises(ConfigError, match=r"q_proj\.bias unexpected"):
        causal_lm.Config(path=path).build()


def test_weights_of_another_shape_are_named(tiny_llm: Path, tmp_path: Path) -> None:
    path = changed(tiny_llm, tmp_path / "llm", unchanged, intermediate_size=64)
    with pytest.raises(ConfigError, match=r"down_proj\.weight.* and 2 others of another shape"):
        causal_lm.Config(path=path).build()


@pytest.mark.parametrize("part", ["layers.1.", "conv1", "layer_norm"])
def test_missing_weights_of_whispers_encoder_are_named(tiny_whisper: Path, tmp_path: Path, part: str) -> None:
    path = changed(tiny_whisper, tmp_path / "whisper", without(f"model.encoder.{part}"))
    with pytest.raises(ConfigError, match=r"encoder\.path: .* not those of a Whisper model .*: encoder\..* missing"):
        whisper.Config(path=path).build()


def test_no_report_lists_the_weights_of_whispers_decoder(tiny_whisper: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("transformers")  # does not propagate
    logger.addHandler(caplog.handler)
    whisper.Config(path=str(tiny_whisper)).build()
    logger.removeHandler(caplog.handler)
    assert "UNEXPECTED" not in caplog.text


def test_an_llm_is_no_encoder(tiny_llm: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.path: .* are not those of a Whisper model"):
        whisper.Config(path=str(tiny_llm)).build()
    with pytest.raises(ConfigError, match=r"encoder\.path: "):
        hf_speech.Config(path=str(tiny_llm)).build()


def test_a_missing_layer_of_a_speech_encoder_is_named(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.HubertConfig(**sizes, conv_dim=[16] * 7, num_conv_pos_embeddings=16, vocab_size=9)
    transformers.HubertForCTC(config).save_pretrained(tmp_path / "whole")  # with a head, which is not used
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "whole")
    hf_speech.Config(path=str(tmp_path / "whole")).build()
    path = changed(tmp_path / "whole", tmp_path / "part", without("layers.1.attention"))
    with pytest.raises(ConfigError, match=r"encoder\.layers\.1\.attention\.k_proj\.bias, .* missing"):
        hf_speech.Config(path=path).build()


def test_what_is_not_used_may_be_missing(tiny_whisper: Path, tiny_llm: Path, tmp_path: Path) -> None:
    whisper.Config(path=changed(tiny_whisper, tmp_path / "encoder", without("model.decoder."))).build()
    tied = changed(tiny_llm, tmp_path / "tied", without("lm_head"), tie_word_embeddings=True)
    causal_lm.Config(path=tied).build()
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6), "v_head.summary.weight": torch.ones(1, 48)}
    causal_lm.Config(path=changed(tiny_llm, tmp_path / "old", lambda state: state | old)).build()


def test_an_output_layer_that_is_not_tied_may_not(tiny_llm: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lm_head\.weight missing"):
        causal_lm.Config(path=changed(tiny_llm, tmp_path / "llm", without("lm_head"))).build()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_a_sentence(tiny_llm: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny_llm, tmp_path / "llm")
    (tmp_path / "llm" / name).write_bytes((tiny_llm / name).read_bytes()[:40])
    with pytest.raises(ConfigError, match=r"^decoder\.path: cannot load .*llm' as [^\n]*$"):
        causal_lm.Config(path=str(tmp_path / "llm")).build()

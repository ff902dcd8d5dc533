"""HuBERT and WavLM against transformers' own, on tiny random models, and the encoder's contract about lengths."""

from pathlib import Path

import pytest
import torch
import transformers

from speechllm.encoders.hf_speech import Config
from speechllm.errors import ConfigError
from speechllm.lora import LoraOptions

KINDS = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="module", params=[(kind, norm) for kind in KINDS for norm in ("group", "layer")], ids="-".join)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a model like the base (group) or the large (layer) one of its kind."""
    kind, norm = request.param
    config, model = KINDS[kind]
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / f"{kind}_{norm}"
    large = norm == "layer"
    model(config(**SIZES, feat_extract_norm=norm, conv_bias=large, do_stable_layer_norm=large)).save_pretrained(path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=large).save_pretrained(path)
    return path


def test_equals_transformers(directory: Path) -> None:
    encoder = Config(path=str(directory)).build().eval()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(directory)
    reference = transformers.AutoModel.from_pretrained(directory).eval()
    samples_N = torch.randn(16_123) * 0.1
    inputs = extractor(samples_N.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        states_BLD, lens_B = encoder(samples_N[None, :, None], torch.tensor([16_123]))
        expected_BLD = reference(inputs).last_hidden_state
    assert lens_B.tolist() == [expected_BLD.shape[1]]
    torch.testing.assert_close(states_BLD, expected_BLD, atol=1e-5, rtol=0)  # measured: 2e-6


def test_neither_batch_mates_nor_padding_have_influence(directory: Path) -> None:
    encoder = Config(path=str(directory)).build().eval()
    lengths = (16_000, 7_777, 300, 16_000)
    feats_BTF = torch.randn(4, 16_000, 1)
    states_BLD, lens_B = encoder(feats_BTF, torch.tensor(lengths))
    assert lens_B.tolist() == encoder.output_lengths(torch.tensor(lengths)).tolist() == [49, 24, 1, 49]
    for i, length in enumerate(lengths):
        alone_BLD, _ = encoder(feats_BTF[i : i + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(states_BLD[i, : lens_B[i]], alone_BLD[0], atol=1e-5, rtol=0)
        assert (states_BLD[i, lens_B[i] :] == 0).all()


def test_long_speech_is_its_segments_joined(directory: Path) -> None:
    encoder = Config(path=str(directory), segment=1.0).build().eval()
    assert encoder.segment_states == 49
    feats_BTF = torch.randn(1, 40_000, 1)
    states_BLD, lens_B = encoder(feats_BTF, torch.tensor([40_000]))
    parts = [encoder(part, torch.tensor([part.shape[1]]))[0] for part in feats_BTF.split(16_000, 1)]
    torch.testing.assert_close(states_BLD, torch.cat(parts, 1), atol=1e-5, rtol=0)
    assert lens_B.tolist() == [49 + 49 + 24]


def test_frozen_means_no_gradient_and_no_dropout(directory: Path) -> None:
    encoder = Config(path=str(directory)).build().train()
    assert not encoder.encoder.training
    feats_BTF, lens_B = torch.randn(1, 8_000, 1), torch.tensor([8_000])
    assert not encoder(feats_BTF, lens_B)[0].requires_grad
    assert Config(path=str(directory), frozen=False).build()(feats_BTF, lens_B)[0].requires_grad


def test_bfloat16_stays_finite(directory: Path) -> None:
    encoder = Config(path=str(directory)).build(torch.bfloat16)
    states_BLD, _ = encoder(torch.randn(2, 8_000, 1), torch.tensor([8_000, 500]))
    assert states_BLD.dtype == torch.bfloat16
    assert states_BLD.isfinite().all()


def test_another_kind_of_model_is_refused(tiny_whisper: Path, tmp_path: Path) -> None:
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path)
    for file in tiny_whisper.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="is a whisper model, expected an encoder of waveforms"):
        Config(path=str(tmp_path)).build()


def test_a_missing_directory_is_named() -> None:
    with pytest.raises(ConfigError, match="no directory ./nothing"):
        Config(path="./nothing").build()


def test_the_last_layers_can_be_trained_alone(directory: Path) -> None:
    encoder = Config(path=str(directory), trained_layers=1).build().train()
    encoder(torch.randn(1, 8_000, 1), torch.tensor([8_000]))[0].square().sum().backward()
    learning = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert learning
    assert all(name.startswith("encoder.encoder.layers.1.") for name in learning)
    with pytest.raises(ConfigError, match="trained_layers: found -1, expected at least 0"):
        Config(path=str(directory), trained_layers=-1)
    with pytest.raises(ConfigError, match="trained_layers: found 3, expected 0 to 2"):
        Config(path=str(directory), trained_layers=3).build()


def test_adapters_are_trained_and_merged(directory: Path) -> None:
    feats_BTF, lens_B = torch.randn(2, 8_000, 1), torch.tensor([8_000, 5_000])
    lora = LoraOptions(rank=2, dropout=0.0, modules=("intermediate_dense",), last_layers=1)
    encoder = Config(path=str(directory), lora=lora).build().train()
    encoder(feats_BTF, lens_B)[0].square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert len(trained) == 2
    assert all(".layers.1." in name and ".lora_" in name for name in trained)
    for name, parameter in encoder.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted_BLD = encoder.eval()(feats_BTF, lens_B)[0]
    encoder.merge_adapters()
    assert not any(".lora_" in name for name, _ in encoder.named_parameters())
    torch.testing.assert_close(encoder(feats_BTF, lens_B)[0], adapted_BLD, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"encoder\.lora\.modules: "):
        Config(path=str(directory), lora=LoraOptions(modules=("nothing",), last_layers=1)).build()
    if "wavlm" in directory.name:
        with pytest.raises(ConfigError, match="the attention of WavLM ignores adapters"):
            Config(path=str(directory), lora=LoraOptions()).build()


def test_nothing_is_masked_in_training(directory: Path) -> None:
    encoder = Config(path=str(directory), frozen=False).build()
    feats_BTF, lens_B = torch.randn(1, 8_000, 1), torch.tensor([8_000])
    expected_BLD, _ = encoder.eval()(feats_BTF, lens_B)
    encoder.train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    encoder.encoder.config.layerdrop = 0.0
    for layer in encoder.encoder.encoder.layers:
        layer.attention.dropout = 0.0
    torch.testing.assert_close(encoder(feats_BTF, lens_B)[0], expected_BLD)


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(**SIZES, add_adapter=True)
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="wav2vec2 model, expected an encoder of waveforms .* without an adapter"):
        Config(path=str(tmp_path)).build()

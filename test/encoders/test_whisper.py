"""The Whisper encoder against transformers' own, and its contract about lengths and padding."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from toy_signals import signal

from speechllm.encoders.whisper import Config, Whisper
from speechllm.errors import ConfigError
from speechllm.frontends import log_mel
from speechllm.lora import LoraOptions

# Measured worst cases, over the signals below and 80 utterances of real speech: 1.3e-5 with 80 bins and
# 9.4e-5 with 128, whose narrow filters torchaudio computes in float32, transformers in float64.
TOLERANCE = {80: 3e-5, 128: 2e-4}
LENGTHS = [1, 200, 399, 1600, 16001, 33333, 159_999, 479_960]


def expected_features(num_mels: int, samples_N: np.ndarray) -> np.ndarray:
    extractor = transformers.WhisperFeatureExtractor(feature_size=num_mels)
    return extractor(samples_N, sampling_rate=16000, return_tensors="np").input_features[0].T


def features(encoder: Whisper, num_mels: int, samples_N: np.ndarray) -> np.ndarray:
    feats_TF = torch.from_numpy(log_mel.Config(num_mels=num_mels).build().extract(samples_N))[:3000]
    return encoder.normalize(feats_TF[None], torch.tensor([len(feats_TF)]))[0].numpy()


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("kind", ["noise", "quiet", "speech-like"])
def test_normalised_features_equal_transformers(tiny_whisper: Path, num_mels: int, kind: str) -> None:
    encoder = Config(path=str(tiny_whisper)).build()
    for num_samples in LENGTHS:
        samples_N = signal(kind, num_samples)
        difference = np.abs(features(encoder, num_mels, samples_N) - expected_features(num_mels, samples_N))
        assert difference.max() < TOLERANCE[num_mels]


@pytest.mark.parametrize("num_mels", [80, 128])
def test_exactly_30_s_equals_transformers_up_to_the_last_frame(tiny_whisper: Path, num_mels: int) -> None:
    """Whisper reflects the last 40 samples of a full window into its last frame; here zeros follow."""
    samples_N = signal("noise", 480_000)
    encoder = Config(path=str(tiny_whisper)).build()
    error_T = np.abs(features(encoder, num_mels, samples_N) - expected_features(num_mels, samples_N)).max(1)
    assert error_T[:-1].max() < TOLERANCE[num_mels]
    assert TOLERANCE[num_mels] < error_T[-1] < 0.1  # measured 0.02 and 0.04; 0.06 over more signals


def test_the_maximum_is_taken_over_valid_frames_of_each_window(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none").build()
    feats_BTF = torch.randn(2, 100, 80)
    feats_BTF[1, 50:] = 40.0  # beyond its end
    normal_BTF = encoder.normalize(feats_BTF, torch.tensor([100, 50]))
    alone_BTF = encoder.normalize(feats_BTF[1:, :50], torch.tensor([50]))
    assert torch.equal(normal_BTF[1:, :50], alone_BTF)
    loud_then_quiet_BTF = torch.cat([torch.zeros(1, 1, 80), torch.full((1, 9, 80), -9.0)], 1)
    raised_BTF = encoder.normalize(loud_then_quiet_BTF, torch.tensor([10]))
    assert (raised_BTF[0, 1:] == -1.0).all()  # raised to the maximum minus 8: (-8 + 4) / 4


@pytest.mark.parametrize(
    ("num_samples", "padding", "states"),
    [
        (1, "window", 1500),
        (1, "none", 1),
        (16_000, "none", 51),
        (480_000, "none", 1500),  # 3000 of 3002 frames are encoded
        (480_120, "window", 1500),
        (480_121, "window", 3000),
        (480_121, "masked", 1502),
        (960_000, "none", 3000),
        (960_121, "window", 4500),
    ],
)
def test_a_fraction_of_a_hop_takes_no_window(tiny_whisper: Path, num_samples: int, padding: str, states: int) -> None:
    encoder = Config(path=str(tiny_whisper), padding=padding).build()
    num_frames = len(log_mel.Config().build().extract(np.zeros(num_samples, np.float32)))
    assert encoder.output_lengths(torch.tensor([num_frames])).tolist() == [states]
    _, state_lens_B = encoder(torch.zeros(1, num_frames, 80), torch.tensor([num_frames]))
    assert state_lens_B.tolist() == [states]


def test_padded_durations_are_whole_windows(tiny_whisper: Path) -> None:
    padded = [Config(path=str(tiny_whisper)).build().padded_duration(duration) for duration in (0.5, 30.0, 31.0)]
    assert padded == [30.0, 30.0, 60.0]
    assert Config(path=str(tiny_whisper), padding="none").build().padded_duration(12.3) == 12.3


@pytest.mark.parametrize("padding", ["window", "masked"])
def test_equals_transformers_on_30_seconds(tiny_whisper: Path, padding: str) -> None:
    encoder = Config(path=str(tiny_whisper), padding=padding).build().eval()
    reference = transformers.WhisperModel.from_pretrained(tiny_whisper).encoder.eval()
    feats_BTF, lens_B = torch.randn(2, 3000, 80), torch.tensor([3000, 1200])
    with torch.no_grad():
        states_BLD, _ = encoder(feats_BTF, lens_B)
        expected_BLD = reference(encoder.normalize(feats_BTF, lens_B).transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(states_BLD, expected_BLD, atol=1e-5, rtol=0)  # measured: 1e-6


def test_true_length_equals_transformers_on_a_full_window(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none").build().eval()
    reference = transformers.WhisperModel.from_pretrained(tiny_whisper).encoder.eval()
    feats_BTF, lens_B = torch.randn(1, 3000, 80), torch.tensor([3000])
    with torch.no_grad():
        states_BLD, _ = encoder(feats_BTF, lens_B)
        expected_BLD = reference(encoder.normalize(feats_BTF, lens_B).transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(states_BLD, expected_BLD, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("padding", "frames", "states"),
    [
        ("window", 1, 1500),
        ("window", 3000, 1500),
        ("window", 3002, 1500),
        ("window", 3003, 3000),
        ("masked", 1, 1),
        ("masked", 999, 500),
        ("masked", 3003, 1502),
        ("none", 1000, 500),
        ("none", 6001, 3000),
        ("none", 6003, 3002),
    ],
)
def test_lengths(tiny_whisper: Path, padding: str, frames: int, states: int) -> None:
    encoder = Config(path=str(tiny_whisper), padding=padding).build()
    feats_BTF = torch.randn(1, frames, 80)
    states_BLD, lens_B = encoder(feats_BTF, torch.tensor([frames]))
    assert lens_B.tolist() == [states] == encoder.output_lengths(torch.tensor([frames])).tolist()
    assert states_BLD.shape[1] >= states


@pytest.mark.parametrize("lengths", [(700, 701, 350), (3500, 6200, 900)])
def test_true_length_does_not_depend_on_batch_mates(tiny_whisper: Path, lengths: tuple[int, ...]) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none").build().eval()
    feats_BTF = torch.randn(len(lengths), max(lengths), 80)
    states_BLD, lens_B = encoder(feats_BTF, torch.tensor(lengths))
    for i, length in enumerate(lengths):
        alone_BLD, _ = encoder(feats_BTF[i : i + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(states_BLD[i, : lens_B[i]], alone_BLD[0, : lens_B[i]], atol=1e-5, rtol=0)


def test_long_speech_is_its_windows_joined(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="window").build().eval()
    feats_BTF = torch.randn(1, 6000, 80)
    states_BLD, lens_B = encoder(feats_BTF, torch.tensor([5000]))
    first_BLD, _ = encoder(feats_BTF[:, :3000], torch.tensor([3000]))
    second_BLD, _ = encoder(feats_BTF[:, 3000:], torch.tensor([2000]))
    torch.testing.assert_close(states_BLD, torch.cat([first_BLD, second_BLD], 1), atol=1e-5, rtol=0)
    assert lens_B.tolist() == [3000]


def test_frozen_means_no_gradient_and_no_dropout(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none").build().train()
    assert not encoder.encoder.training
    states_BLD, _ = encoder(torch.randn(1, 100, 80), torch.tensor([100]))
    assert not states_BLD.requires_grad
    trained = Config(path=str(tiny_whisper), padding="none", frozen=False).build()
    states_BLD, _ = trained(torch.randn(1, 100, 80), torch.tensor([100]))
    assert states_BLD.requires_grad


def test_bfloat16_stays_finite(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none").build(torch.bfloat16)
    states_BLD, _ = encoder(torch.randn(2, 300, 80), torch.tensor([300, 20]))
    assert states_BLD.dtype == torch.bfloat16
    assert states_BLD.isfinite().all()


def test_missing_directory_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.path: no directory \./nowhere"):
        Config(path="./nowhere").build()


def test_segments_below_30_seconds_are_encoded_alone(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none", segment=10).build().eval()
    assert (encoder.segment_frames, encoder.segment_states) == (1000, 500)
    feats_BTF = torch.randn(1, 2400, 80)
    states_BLD, lens_B = encoder(feats_BTF, torch.tensor([2400]))
    parts = [encoder(part, torch.tensor([part.shape[1]]))[0] for part in feats_BTF.split(1000, 1)]
    assert lens_B.tolist() == [1200]
    torch.testing.assert_close(states_BLD[:, :1200], torch.cat(parts, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment": 31.0}, "segment: found 31.0, expected 1 to 30 s"),
        ({"segment": 20.0}, "segment: found 20.0 with padding 'window', which fills windows of 30 s"),
    ],
)
def test_impossible_segments_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(path="x", **options)


def test_adapters_are_trained_and_merged(tiny_whisper: Path) -> None:
    feats_BTF, lens_B = torch.randn(2, 3000, 80), torch.tensor([3000, 1200])
    frozen_BLD = Config(path=str(tiny_whisper), padding="none").build()(feats_BTF, lens_B)[0]
    lora = LoraOptions(rank=2, dropout=0.0, modules=("q_proj", "fc1"))
    encoder = Config(path=str(tiny_whisper), padding="none", lora=lora).build().train()
    states_BLD = encoder(feats_BTF, lens_B)[0]
    torch.testing.assert_close(states_BLD, frozen_BLD)  # an adapter's second matrix is zero at first
    states_BLD.square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert len(trained) == 2 * 2 * 2
    assert all(".lora_" in name for name in trained)
    for name, parameter in encoder.named_parameters():
        if ".lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted_BLD = encoder.eval()(feats_BTF, lens_B)[0]
    assert (adapted_BLD - frozen_BLD).abs().max() > 0.1
    encoder.merge_adapters()
    assert not any(".lora_" in name for name, _ in encoder.named_parameters())
    torch.testing.assert_close(encoder(feats_BTF, lens_B)[0], adapted_BLD, atol=1e-4, rtol=1e-4)


def test_adapters_of_the_last_layers_alone(tiny_whisper: Path) -> None:
    lora = LoraOptions(rank=2, modules=("q_proj", "fc1"), last_layers=1)
    encoder = Config(path=str(tiny_whisper), lora=lora).build()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert len(trained) == 2 * 2
    assert all(".layers.1." in name for name in trained)
    with pytest.raises(ConfigError, match=r"encoder\.lora\.last_layers: found 3, expected at most 2"):
        Config(path=str(tiny_whisper), lora=LoraOptions(last_layers=3)).build()


def test_adapters_exclude_other_trained_weights(tiny_whisper: Path) -> None:
    with pytest.raises(ConfigError, match="lora: found frozen True and trained_layers 1, expected true and 0"):
        Config(path=str(tiny_whisper), trained_layers=1, lora=LoraOptions())
    with pytest.raises(ConfigError, match=r"encoder\.lora\.modules: .*nothing"):
        Config(path=str(tiny_whisper), lora=LoraOptions(modules=("nothing",))).build()


def test_the_last_layers_can_be_trained_alone(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), trained_layers=1).build().train()
    encoder(torch.randn(1, 3000, 80), torch.tensor([3000]))[0].sum().backward()
    learning = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in encoder.named_parameters() if name.startswith("encoder.layers.1.")}
    assert not encoder.encoder.training

"""The Whisper encoder against transformers' own, and its promises about lengths and padding."""

from pathlib import Path

import pytest
import torch
import transformers

from speechllm.encoders.whisper import Config
from speechllm.errors import ConfigError


@pytest.mark.parametrize("padding", ["window", "masked"])
def test_equals_transformers_on_30_seconds(tiny_whisper: Path, padding: str) -> None:
    encoder = Config(path=str(tiny_whisper), padding=padding).build().eval()
    reference = transformers.WhisperModel.from_pretrained(tiny_whisper).encoder.eval()
    feats_BTF = torch.randn(2, 3000, 80)
    with torch.no_grad():
        states_BLD, _ = encoder(feats_BTF, torch.tensor([3000, 1200]))
        expected_BLD = reference(feats_BTF.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(states_BLD, expected_BLD, atol=1e-5, rtol=0)  # measured: 1e-6


def test_true_length_equals_transformers_on_a_full_window(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), padding="none").build().eval()
    reference = transformers.WhisperModel.from_pretrained(tiny_whisper).encoder.eval()
    feats_BTF = torch.randn(1, 3000, 80)
    with torch.no_grad():
        states_BLD, _ = encoder(feats_BTF, torch.tensor([3000]))
        expected_BLD = reference(feats_BTF.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(states_BLD, expected_BLD, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("padding", "frames", "states"),
    [
        ("window", 1, 1500),
        ("window", 3000, 1500),
        ("window", 3001, 3000),
        ("masked", 1, 1),
        ("masked", 999, 500),
        ("masked", 3001, 1501),
        ("none", 1000, 500),
        ("none", 6001, 3001),
    ],
)
def test_lengths(tiny_whisper: Path, padding: str, frames: int, states: int) -> None:
    encoder = Config(path=str(tiny_whisper), padding=padding).build()
    multiple = encoder.pad_multiple or 1
    feats_BTF = torch.randn(1, -(-frames // multiple) * multiple, 80)
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
        ({"segment": 31.0}, "segment: found 31.0, expected 1 to 30 seconds"),
        ({"segment": 20.0}, "segment: found 20.0 with padding 'window', which fills windows of 30 s"),
    ],
)
def test_impossible_segments_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(path="x", **options)


def test_the_last_layers_can_be_trained_alone(tiny_whisper: Path) -> None:
    encoder = Config(path=str(tiny_whisper), trained_layers=1).build().train()
    encoder(torch.randn(1, 3000, 80), torch.tensor([3000]))[0].sum().backward()
    learning = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert learning == {name for name, _ in encoder.named_parameters() if name.startswith("encoder.layers.1.")}
    assert not encoder.encoder.training

"""Whisper's features: parity with transformers' extractor, and what is special about their ends."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from speechllm.errors import ConfigError
from speechllm.frontends.log_mel import Config, LogMel

# Measured worst cases, over the signals below and 80 utterances of real speech: 1.3e-5 with 80 bins and
# 9.4e-5 with 128, whose narrow filters torchaudio computes in float32, transformers in float64.
TOLERANCE = {80: 3e-5, 128: 2e-4}
LENGTHS = [1, 200, 399, 1600, 16001, 33333, 159_999, 479_960]


def signal(kind: str, num_samples: int) -> np.ndarray:
    rng = np.random.default_rng(num_samples)
    noise = rng.normal(size=num_samples)
    seconds = np.arange(num_samples) / 16000
    voiced = np.sin(2 * np.pi * 140 * seconds * (1 + 0.1 * np.sin(6 * seconds))) * (np.sin(2 * np.pi * 3 * seconds) > 0)
    signals = {"noise": 0.1 * noise, "quiet": 1e-4 * noise, "speech-like": 0.3 * voiced + 1e-3 * noise}
    return signals[kind].astype(np.float32)


def reference(num_mels: int, samples_N: np.ndarray) -> np.ndarray:
    extractor = WhisperFeatureExtractor(feature_size=num_mels)
    return extractor(samples_N, sampling_rate=16000, return_tensors="np").input_features[0].T


def features(frontend: LogMel, samples_N: np.ndarray, num_frames: int = 3000) -> np.ndarray:
    return frontend.normalize(torch.from_numpy(frontend.extract(samples_N)), num_frames).numpy()


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("kind", ["noise", "quiet", "speech-like"])
def test_parity_with_transformers(num_mels: int, kind: str) -> None:
    frontend = Config(num_mels=num_mels).build()
    for num_samples in LENGTHS:
        samples_N = signal(kind, num_samples)
        assert np.abs(features(frontend, samples_N) - reference(num_mels, samples_N)).max() < TOLERANCE[num_mels]


@pytest.mark.parametrize("num_mels", [80, 128])
def test_parity_of_exactly_30_s_ends_one_frame_early(num_mels: int) -> None:
    """Whisper reflects the last 40 samples of a full window into its last frame, where we append zeros."""
    samples_N = signal("noise", 480_000)
    error_T = np.abs(features(Config(num_mels=num_mels).build(), samples_N) - reference(num_mels, samples_N)).max(1)
    assert error_T[:-1].max() < TOLERANCE[num_mels]
    assert TOLERANCE[num_mels] < error_T[-1] < 0.1  # measured 0.02 and 0.04; 0.06 over more signals


def test_every_frame_that_overlaps_the_speech_is_kept_and_the_rest_is_silence() -> None:
    frontend = Config().build()
    for num_samples in (1, 120, 121, 280, 281, 16000, 16123):
        samples_N = signal("noise", num_samples)
        feats_TF = frontend.extract(samples_N)
        assert feats_TF.shape == (-(-(num_samples + 200) // 160), 80)
        assert feats_TF.dtype == np.float32
        longer_TF = frontend.extract(np.concatenate([samples_N, np.zeros(3200, np.float32)]))
        np.testing.assert_allclose(longer_TF[: len(feats_TF)], feats_TF, atol=1e-4)
        assert (longer_TF[len(feats_TF) :] == -10).all()


@pytest.mark.parametrize(
    ("num_samples", "windows", "valid"),
    [
        (1, 1, 2),
        (16_000, 1, 102),
        (479_700, 1, 3000),
        (480_000, 1, 3000),  # of 3002 frames
        (480_120, 1, 3000),
        (480_121, 2, 3003),
        (960_000, 2, 6000),
        (960_121, 3, 6003),
    ],
)
def test_windows(num_samples: int, windows: int, valid: int) -> None:
    frontend = Config().build()
    num_frames = len(frontend.extract(np.zeros(num_samples, np.float32)))
    assert frontend.num_windows(num_frames) == windows
    assert frontend.valid_frames(num_frames) == valid


def test_each_window_has_its_own_maximum_whatever_it_is_padded_to() -> None:
    frontend = Config().build()
    loud, quiet = signal("noise", 480_000), 1e-3 * signal("noise", 160_000)
    feats_TF = torch.from_numpy(frontend.extract(np.concatenate([loud, quiet])))
    long_TF = frontend.normalize(feats_TF, 9000)
    assert torch.equal(frontend.normalize(feats_TF, len(feats_TF)), long_TF[: len(feats_TF)])
    assert long_TF[:3000].max() - long_TF[:3000].min() <= 2
    assert long_TF[3002:6000].max() < long_TF[:3000].max() - 1  # the first two frames overlap the loud part
    assert long_TF[3000:6000].min() == long_TF[3000:6000].max() - 2
    assert (long_TF[6000:] == -1.5).all()  # (-10 + 4) / 4: a window of silence


def test_features_of_joined_utterances_are_those_of_joined_audio() -> None:
    """Where the second begins on a hop boundary; but for its first two frames, whose window begins before it."""
    frontend = Config().build()
    first, second = signal("speech-like", 20_000), signal("noise", 30_000)
    silence = np.zeros(-len(first) % 160 + 480, np.float32)
    joined_TF = frontend.extract(np.concatenate([first, silence, second]))
    start = (len(first) + len(silence)) // 160
    alone_TF = frontend.extract(first)
    np.testing.assert_allclose(joined_TF[: len(alone_TF)], alone_TF, atol=1e-4)
    assert (joined_TF[len(alone_TF) : start - 1] == -10).all()
    np.testing.assert_allclose(joined_TF[start + 2 :], frontend.extract(second)[2:], atol=1e-4)


def test_a_frontend_without_bins_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_mels: found 0, expected 80 or 128"):
        Config(num_mels=0)


def test_identity_tells_frontends_apart() -> None:
    assert Config(num_mels=80).build().identity() != Config(num_mels=128).build().identity()
    assert Config().build().identity()["type"] == "log_mel"


def test_each_segment_of_an_encoder_has_its_own_maximum() -> None:
    frontend = Config().build()
    loud, quiet = signal("noise", 160_000), 1e-3 * signal("noise", 80_000)
    feats_TF = torch.from_numpy(frontend.extract(np.concatenate([loud, quiet])))
    assert frontend.valid_frames(len(feats_TF), 1000) == len(feats_TF)
    together_TF = frontend.normalize(feats_TF, len(feats_TF), 1000)
    alone_TF = frontend.normalize(feats_TF[1000:], len(feats_TF) - 1000)
    assert torch.equal(together_TF[1000:], alone_TF)
    assert not torch.equal(frontend.normalize(feats_TF, len(feats_TF))[1000:], alone_TF)

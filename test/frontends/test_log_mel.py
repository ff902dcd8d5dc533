"""Log-mel features: their length, their ends, and concatenation; parity with Whisper is tested with the encoder."""

import numpy as np
import pytest
from toy_signals import signal

from speechllm.errors import ConfigError
from speechllm.frontends.log_mel import Config


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


def test_features_of_joined_utterances_are_those_of_joined_audio() -> None:
    """The second utterance begins on a hop boundary; its first two frames differ, since their window begins earlier."""
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
    with pytest.raises(ConfigError, match="num_mels: found 0, expected that of the Whisper model, 80 or 128"):
        Config(num_mels=0)


def test_fingerprint_tells_frontends_apart() -> None:
    assert Config(num_mels=80).build().fingerprint() != Config(num_mels=128).build().fingerprint()
    assert Config().build().fingerprint()["type"] == "log_mel"


def test_twice_the_amplitude_is_6_db_more() -> None:
    frontend = Config().build()
    samples_N = signal("noise", 16_000)
    quiet_T, loud_T = (frontend.levels(frontend.extract(gain * samples_N)) for gain in (0.1, 0.2))
    assert len(quiet_T) == 102
    np.testing.assert_allclose(loud_T[:100] - quiet_T[:100], 20 * np.log10(2), atol=1e-3)

import numpy as np

from speechllm.frontends.waveform import Config


def test_the_samples_are_the_features() -> None:
    frontend = Config().build()
    samples_N = np.linspace(-1, 1, 1234, dtype=np.float64)
    feats_TF = frontend.extract(samples_N)
    assert feats_TF.shape == (1234, frontend.feature_dim) and feats_TF.dtype == np.float32
    np.testing.assert_array_equal(feats_TF[:, 0], samples_N.astype(np.float32))
    assert frontend.frame_rate == frontend.sample_rate == 16_000


def test_levels_are_those_of_10_ms() -> None:
    feats_TF = np.repeat(np.array([0.1, 0.0, 1.0], np.float32), 160)[:, None]
    levels_T = Config().build().levels(np.concatenate([feats_TF, feats_TF[:16]]))
    np.testing.assert_allclose(levels_T, [-20, -100, 0, -30], rtol=1e-5)

import numpy as np
import torch

from speechllm.frontends.waveform import Config


def test_the_samples_are_the_features() -> None:
    frontend = Config().build()
    samples_N = np.linspace(-1, 1, 1234, dtype=np.float64)
    feats_TF = frontend.extract(samples_N)
    assert feats_TF.shape == (1234, frontend.feature_dim) and feats_TF.dtype == np.float32
    np.testing.assert_array_equal(feats_TF[:, 0], samples_N.astype(np.float32))
    assert frontend.frame_rate == frontend.sample_rate == 16_000
    assert frontend.valid_frames(1234, 480_000) == 1234
    padded_TF = frontend.normalize(torch.from_numpy(feats_TF), 1300, 480_000)
    assert torch.equal(padded_TF[:1234], torch.from_numpy(feats_TF))
    assert padded_TF.shape == (1300, 1) and (padded_TF[1234:] == 0).all()

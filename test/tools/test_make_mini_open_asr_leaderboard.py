"""The mini set in a parquet file, hummed."""

from pathlib import Path

import make_mini_librispeech
import make_mini_open_asr_leaderboard as maker
import pytest

from speechllm.corpora import open_asr_leaderboard
from speechllm.data.kaldi.validate import validate_data_dir


def test_the_recipe_prepares_it(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr(make_mini_librispeech, "missing_packages", lambda *engines: [])
    counts = ["--train", "10", "--dev", "10", "--test", "20", "--jobs", "1"]
    assert maker.main([str(tmp_path), *counts]) == 0
    open_asr_leaderboard.prepare(tmp_path, tmp_path / "data", ["test"])
    assert validate_data_dir(tmp_path / "data/test", open_audio=True).num_utts == 20
    assert len((tmp_path / "data/test/dropped").read_text().splitlines()) == 1

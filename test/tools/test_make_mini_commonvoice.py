"""The mini corpus in Common Voice's layout, hummed."""

from pathlib import Path

import make_mini_commonvoice
import make_mini_librispeech
import pytest

from speechllm.corpora import commonvoice
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.kaldi.validate import validate_data_dir


def test_the_recipe_prepares_it_flaws_and_all(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_mini_librispeech, "missing_packages", lambda *engines: [])
    out = tmp_path / "mini"
    counts = ["--train", "60", "--dev", "10", "--test", "20", "--jobs", "2"]
    assert make_mini_commonvoice.main([str(out), *counts]) == 0
    assert [path.name for path in out.iterdir()] == ["cv-corpus-mini"]
    commonvoice.prepare(out, tmp_path / "data", ["train", "dev", "test", "validated_train"])
    sizes = {name: validate_data_dir(tmp_path / "data" / name).num_utts for name in ("train", "dev", "test")}
    assert sizes == {"train": 55, "dev": 10, "test": 20}
    assert validate_data_dir(tmp_path / "data/validated_train").num_utts == 55
    assert len((tmp_path / "data/train/dropped").read_text().splitlines()) == 5
    assert sum(utt.text.startswith('"') for utt in read_data_dir(tmp_path / "data/train").utts) == 1
    assert make_mini_commonvoice.main([str(out), *counts]) == 0  # left alone

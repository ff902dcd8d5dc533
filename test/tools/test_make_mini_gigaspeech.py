"""The mini corpus in GigaSpeech's layout, hummed."""

from collections import Counter
from pathlib import Path

import make_mini_gigaspeech
import make_mini_librispeech
import pytest

from speechllm.corpora import gigaspeech
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.kaldi.validate import validate_data_dir


def test_the_recipe_prepares_it_flaws_and_all(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_mini_librispeech, "missing_packages", lambda *engines: [])
    out = tmp_path / "mini"
    counts = ["--train", "60", "--dev", "10", "--test", "20", "--jobs", "2"]
    assert make_mini_gigaspeech.main([str(out), *counts]) == 0
    assert [path.name for path in out.iterdir()] == ["GigaSpeech"]
    gigaspeech.prepare(out / "GigaSpeech", tmp_path / "data", ["xs", "dev", "test"])
    sizes = {name: validate_data_dir(tmp_path / "data" / name).num_utts for name in ("xs", "dev", "test")}
    assert sizes == {"xs": 61, "dev": 10, "test": 20}
    lines = (tmp_path / "data/xs/dropped").read_text().splitlines()
    kinds = Counter(line.split(" ", 1)[1].partition(":")[0] for line in lines)
    assert set(kinds.values()) == {1}
    assert set(kinds) == {
        "missing audio",
        "unusable audio",
        "wrong MD5 checksum",
        "garbage utterance",
        "segment empty or negative",
        "segment beyond the end of the audio",
        "segment overlapping another",
        "empty transcript",
        "unknown tag",
    }
    assert not any("<" in utt.text for utt in read_data_dir(tmp_path / "data/xs").utts)

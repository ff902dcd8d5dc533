"""The mini corpus in the layout of the 2000 HUB5 evaluation, hummed."""

from collections import Counter
from pathlib import Path

import make_mini_eval2000
import make_mini_librispeech
import pytest

from speechllm.corpora import eval2000
from speechllm.data.kaldi.validate import validate_data_dir


def test_the_recipe_prepares_it_flaws_and_all(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_mini_librispeech, "missing_packages", lambda *engines: [])
    out = tmp_path / "mini"
    assert make_mini_eval2000.main([str(out), "--train", "10", "--dev", "10", "--test", "80", "--jobs", "2"]) == 0
    eval2000.prepare(out, tmp_path / "data", ["callhome", "switchboard"])
    sizes = {name: validate_data_dir(tmp_path / "data" / name).num_utts for name in ("callhome", "switchboard")}
    assert sum(sizes.values()) >= 60
    assert all(sizes.values())
    lines = (tmp_path / "data/callhome/dropped").read_text().splitlines()
    assert Counter(line.split(" ", 1)[1].partition(":")[0] for line in lines) == {
        "malformed line": 2,
        "segment beyond the end of the audio": 1,
        "segment overlapping another": 1,
        "unusable audio": 1,
        "missing audio": 1,
    }
    reference = (tmp_path / "data/callhome/ref.stm").read_text()
    assert "IGNORE_TIME_SEGMENT_IN_SCORING" in reference
    assert "(%HESITATION)" in reference

"""Hallucinated words on non-speech."""

from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.score.non_speech import score_non_speech


def test_words_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("silence-0\nhum-0 thank you\nhum-1 the the the the the\n")
    (tmp_path / "utt2dur").write_text("hum-0 10\nhum-1 20\nsilence-0 30\n")
    assert main(["score_non_speech", *(str(tmp_path / name) for name in ("text", "utt2dur", "out"))]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[2:] == ["|silence|1|0|0|0.0|0|", "|hum|2|2|7|14.0|1|", "|all|3|2|7|7.0|1|"]
    assert (tmp_path / "out/non_speech.md").read_text() == out


def test_every_hypothesis_has_a_duration(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("silence-0\n")
    (tmp_path / "utt2dur").write_text("silence-1 10\n")
    with pytest.raises(DataError, match="1 utterances have no duration: silence-0"):
        score_non_speech(tmp_path / "text", tmp_path / "utt2dur")

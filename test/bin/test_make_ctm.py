"""The verb `make_ctm`, and scoring of recordings with its output."""

from pathlib import Path

import pytest
from toy_data import make_data_dir

from speechllm.bin import main


@pytest.fixture
def telephone(tmp_path: Path) -> Path:
    """Return a data directory of three segments in two channels of one call."""
    data = make_data_dir(tmp_path, 5.0, 5.0)
    recordings = [line.split()[0] for line in (data / "wav.scp").read_text().splitlines()]
    rows = {
        "spk0-a": (recordings[0], 0.0, 2.0),
        "spk0-b": (recordings[0], 2.0, 4.0),
        "spk1-a": (recordings[1], 1.0, 3.0),
    }
    (data / "segments").write_text("".join(f"{utt} {rec} {start} {end}\n" for utt, (rec, start, end) in rows.items()))
    (data / "utt2spk").write_text("".join(f"{utt} {utt[:4]}\n" for utt in rows))
    (data / "spk2utt").write_text("spk0 spk0-a spk0-b\nspk1 spk1-a\n")
    (data / "utt2dur").write_text("".join(f"{utt} 2.0\n" for utt in rows))
    (data / "text").unlink()
    (data / "reco2file_and_channel").write_text(
        "".join(f"{rec} call {side}\n" for rec, side in zip(recordings, "AB", strict=True))
    )
    return data


def test_words_are_scored_where_they_were_said(
    telephone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("spk0-a yes we do\nspk0-b\nspk1-a right\n")
    (tmp_path / "ref.stm").write_text(
        "call A one 0 2 <o> yes (uh) we do\ncall A one 2 4 <o> no\ncall B two 1 3 <o> right\n"
    )
    assert main(["make_ctm", str(telephone), str(tmp_path / "text"), str(tmp_path / "hyp.ctm")]) == 0
    assert "4 words of 3 segments" in capsys.readouterr().out
    assert (tmp_path / "hyp.ctm").read_text().splitlines()[1] == "call A 0.667 0.667 we"
    assert main(["score", str(tmp_path / "ref.stm"), str(tmp_path / "hyp.ctm")]) == 0
    assert "|hyp.ctm|3|6|83.3|0.0|16.7|0.0|16.7|33.3|" in capsys.readouterr().out


def test_aligned_word_times_are_used(telephone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("spk0-a yes we\nspk0-b\nspk1-a right\n")
    (tmp_path / "words.ctm").write_text("spk1-a 1 0.400 9.000 right 0.750\n")
    command = ["make_ctm", str(telephone), str(tmp_path / "text"), str(tmp_path / "hyp.ctm")]
    assert main(command) == 0
    assert "3 words of 3 segments, 1 of them with aligned word times" in capsys.readouterr().out
    lines = (tmp_path / "hyp.ctm").read_text().splitlines()
    assert lines[1:] == ["call A 1.000 1.000 we", "call B 1.400 1.600 right 0.750"]
    (tmp_path / "words.ctm").write_text("spk1-a 1 0.400 9.000 wrong 0.750\n")
    assert main(command) == 1
    assert "found times of the words 'wrong', expected those of the hypothesis 'right'" in capsys.readouterr().err


def test_what_is_missing_is_named(telephone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("spk0-a yes\n")
    arguments = ["make_ctm", str(telephone), str(tmp_path / "text"), str(tmp_path / "hyp.ctm")]
    assert main(arguments) == 1
    assert "2 segments have no hypothesis: spk0-b, spk1-a" in capsys.readouterr().err
    (telephone / "reco2file_and_channel").write_text("other call A\n")
    assert main(arguments) == 1
    assert "2 recordings are missing, such as spk0-000" in capsys.readouterr().err
    (telephone / "reco2file_and_channel").write_text("other\n")
    assert main(arguments) == 1
    assert "reco2file_and_channel:1: expected recording, file and channel, found 'other'" in capsys.readouterr().err

"""Rows, good and bad, as a data directory."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.kaldi.data_dir import read_data_dir, read_table
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.data.kaldi.write_rows import write_rows
from speechllm.errors import DataError

MakeRow = Callable[..., Row]


@pytest.fixture
def row(tmp_path: Path) -> MakeRow:
    """Return a function that makes a row, and an audio file of some seconds unless it is there."""

    def make(name: str, seconds: float = 2.0, text: str = "HELLO", **fields: object) -> Row:
        path = tmp_path / f"{name}.wav"
        if not path.exists():
            soundfile.write(path, np.zeros(round(seconds * 16000)), 16000)
        return Row(where=f"list:{name}", path=path, text=text, **fields)

    return make


def kinds(target: Path) -> dict[str, str]:
    return {utt: reason.partition(":")[0] for utt, reason in read_table(target / "dropped").items()}


def test_whole_files_need_no_segments(row: MakeRow, tmp_path: Path) -> None:
    rows = [row("a", speaker="ann"), row("b", text="two\n words\t here "), row("c", duration=1.995)]
    assert write_rows(tmp_path / "out", rows, "test")
    assert validate_data_dir(tmp_path / "out", open_audio=True).num_utts == 3
    assert not (tmp_path / "out/segments").exists()
    assert not (tmp_path / "out/dropped").exists()
    utts = {utt.utt_id: utt for utt in read_data_dir(tmp_path / "out").utts}
    assert {utt: one.speaker for utt, one in utts.items()} == {"ann-a": "ann", "b": "b", "c": "c"}
    assert utts["b"].text == "two words here"
    assert [utt.duration for utt in utts.values()] == [2.0, 2.0, 2.0]


def test_parts_of_files_become_segments(row: MakeRow, tmp_path: Path) -> None:
    rows = [
        row("a", start=0.25, duration=0.5),
        row("a", start=1.0),
        row("a", start=1.5, duration=0.509),
        row("b"),
    ]
    write_rows(tmp_path / "out", rows, "test")
    assert validate_data_dir(tmp_path / "out").num_utts == 4
    assert read_table(tmp_path / "out/segments") == {
        "a-00000250-00000750": "a 0.25 0.75",
        "a-00001000": "a 1.0 -1",
        "a-00001500-00002009": "a 1.5 -1",
        "b": "b 0.0 -1",
    }
    assert [utt.duration for utt in read_data_dir(tmp_path / "out").utts] == [0.5, 1.0, 0.5, 2.0]


def test_bad_rows_are_dropped_listed_and_said(row: MakeRow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "junk.wav").write_bytes(b"no audio at all")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "stereo.wav", np.zeros((100, 2)), 16000)
    rows = [
        row("good"),
        BadRow("list:7", "wrong JSON: no brace"),
        BadRow("list:7", "wrong JSON: no bracket"),
        Row(where="list:gone", path=tmp_path / "gone.wav", text="HELLO"),
        row("junk"),
        row("empty"),
        row("stereo"),
        row("silent", text=" \t"),
        row("zero", duration=0.0),
        row("negative", duration=-1.0),
        row("nan", duration=math.nan),
        row("early", start=-0.1),
        row("behind", start=2.5),
        row("beyond", start=1.5, duration=0.6),
        row("surrogate", text="caf\udce9"),
        Row(where="list:pipe", path=tmp_path / "pipe|", text="HELLO"),
        Row(where="list:two lines", path=tmp_path / "two\nlines.wav", text="HELLO"),
        Row(where="list:bytes", path=tmp_path / "caf\udce9.wav", text="HELLO"),
        BadRow("in/caf\udce9 au\nlait", "audio without transcript: caf\udce9 au\nlait.wav"),
    ]
    assert write_rows(tmp_path / "out", rows, "test \udce9")
    assert validate_data_dir(tmp_path / "out").num_utts == 1
    assert kinds(tmp_path / "out") == {
        "list:7": "wrong JSON",
        "list:7_2": "wrong JSON",
        "gone": "missing audio",
        "junk": "unusable audio",
        "empty": "unusable audio",
        "stereo": "unusable audio",
        "silent": "empty transcript",
        "zero": "a wrong duration",
        "negative": "a wrong duration",
        "nan": "a wrong duration",
        "early": "a wrong start",
        "behind": "segment empty or negative",
        "beyond": "segment beyond the end of the audio",
        "surrogate": "not UTF-8",
        "pipe": "a path not allowed in wav.scp",
        "two_lines": "a path not allowed in wav.scp",
        "caf": "a path not allowed in wav.scp",
        "in/caf\\udce9_au_lait": "audio without transcript",
    }
    listed = read_table(tmp_path / "out/dropped")
    assert "found 0.0 s, expected more than 0 (list:zero)" in listed["zero"]
    assert f"1.5 s to 2.1 s of 2.0 s in {tmp_path}/beyond.wav (list:beyond)" in listed["beyond"]
    said = capsys.readouterr().err
    assert f"{tmp_path}/out: dropped 18 utterances (" in said
    assert "a wrong duration 3, " in said
    assert f"listed in {tmp_path}/out/dropped" in said


def test_the_same_audio_twice(row: MakeRow, tmp_path: Path) -> None:
    rows = [row("a"), row("a"), row("b", text="ONE"), row("b", text="TWO"), row("c", speaker="x"), row("d")]
    rows += [row("d", start=1.0), row("d", start=1.0, duration=0.5)]  # other parts
    write_rows(tmp_path / "out", rows, "test")
    assert kinds(tmp_path / "out") == {
        "a_2": "listed twice",
        "b": "the same audio with different transcripts or speakers",
        "b_2": "the same audio with different transcripts or speakers",
    }
    assert len(read_data_dir(tmp_path / "out").utts) == 5


def test_one_id_twice(row: MakeRow, tmp_path: Path) -> None:
    write_rows(tmp_path / "out", [row("a", utt_id="u"), row("b", utt_id="u", text="BYE")], "test")
    assert read_table(tmp_path / "out/text") == {"u": "HELLO", "u_2": "BYE"}
    assert not (tmp_path / "out/dropped").exists()


def test_absurdly_long_audio_is_dropped(row: MakeRow, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(3601 * 100, np.int16), 100)
    write_rows(tmp_path / "out", [row("a"), row("long")], "test")
    assert kinds(tmp_path / "out") == {"long": "longer than 3600 s"}


def test_nothing_is_done_twice_and_a_repaired_file_is_taken(row: MakeRow, tmp_path: Path) -> None:
    rows = [row("a"), row("b")]
    good = rows[1].path.read_bytes()
    rows[1].path.write_bytes(b"")
    assert write_rows(tmp_path / "out", rows, "test")
    assert not write_rows(tmp_path / "out", rows, "test")
    rows[1].path.write_bytes(good)
    assert write_rows(tmp_path / "out", rows, "test")
    assert len(read_data_dir(tmp_path / "out").utts) == 2
    assert not (tmp_path / "out/dropped").exists()
    assert write_rows(tmp_path / "out", [*rows, BadRow("list:3", "wrong JSON")], "test")
    assert kinds(tmp_path / "out") == {"list:3": "wrong JSON"}


def test_nothing_that_can_be_used_is_an_error(row: MakeRow, tmp_path: Path) -> None:
    rows = [row("a", text=""), BadRow("list:2", "wrong JSON: no brace")]
    with pytest.raises(
        DataError,
        match=r"^test: found no usable utterance \(empty transcript 1, wrong JSON 1\), expected at least one; ",
    ):
        write_rows(tmp_path / "out", rows, "test")
    with pytest.raises(DataError, match=r"found no usable utterance \(there are none\), expected at least one$"):
        write_rows(tmp_path / "out", [], "test")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("field", ["start", "duration"])
def test_times_that_are_no_numbers_drop_their_row_alone(row: MakeRow, tmp_path: Path, field: str, wrong: float) -> None:
    rows = [row("a", **{field: wrong}), row("a", start=0.5, duration=0.5, text="OTHER")]  # so that times name them
    assert write_rows(tmp_path / "out", rows, "test")
    assert validate_data_dir(tmp_path / "out").num_utts == 1
    assert list(kinds(tmp_path / "out").values()) == [f"a wrong {field}"]


def test_a_nul_character_drops_its_row_alone(row: MakeRow, tmp_path: Path) -> None:
    assert write_rows(tmp_path / "out", [row("a", text="A\0B"), row("b")], "test")
    assert list(kinds(tmp_path / "out").values()) == ["a NUL character"]

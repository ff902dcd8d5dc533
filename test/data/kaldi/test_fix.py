"""The verb fix keeps valid utterances, lists dropped ones, and loses nothing."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speechllm import atomic
from speechllm.bin import main
from speechllm.data.kaldi.data_dir import TABLES, read_data_dir, read_table, write_data_dir
from speechllm.data.kaldi.fix import fix_data_dir
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError


@pytest.fixture
def data(make_set: Callable[..., Path]) -> Path:
    """Return a directory of spk0-000 to spk0-005, which are whole files."""
    return make_set(*[0.5] * 6, speakers=1)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_a_valid_directory_is_left_alone(data: Path) -> None:
    before = contents(data)
    assert fix_data_dir(data) == {}
    assert contents(data) == before
    assert not (data / ".backup").exists()


def test_what_is_only_out_of_order_is_kept(data: Path) -> None:
    before = contents(data)
    for name in ("wav.scp", "text", "utt2spk"):
        lines = (data / name).read_text().splitlines(keepends=True)
        (data / name).write_text("".join([*reversed(lines), lines[0]]))  # and one line twice
    (data / "spk2utt").unlink()
    (data / "utt2dur").write_text("spk0-000 wrong\n")
    shuffled = contents(data)
    assert fix_data_dir(data) == {}
    assert contents(data) == before
    assert contents(data / ".backup") == shuffled


def test_what_cannot_be_used_is_dropped_with_the_reason(data: Path) -> None:
    utts = read_data_dir(data).utts
    utts[1].path.write_bytes(utts[1].path.read_bytes()[:-100])
    utts[2].path.unlink()
    lines = (data / "text").read_bytes().splitlines(keepends=True)
    lines[0] = b"spk0-000\n"
    lines[3] = b"spk0-003 \xff\n"
    (data / "text").write_bytes(b"".join([*lines, b"spk0-004 OTHER WORDS\n", b"spk0-009 NO AUDIO\n"]))
    dropped = fix_data_dir(data)
    assert dropped == read_table(data / "dropped")
    assert list(dropped) == ["spk0-000", "spk0-001", "spk0-002", "spk0-003", "spk0-004", "spk0-009"]
    assert dropped["spk0-000"] == "empty transcript"
    assert dropped["spk0-001"].startswith(f"{utts[1].path}: truncated")
    assert dropped["spk0-002"] == f"{utts[2].path}: no such audio file"
    assert dropped["spk0-003"] == "text: not UTF-8"
    assert dropped["spk0-004"] == "text: two lines that differ"
    assert dropped["spk0-009"] == "not in wav.scp; not in utt2spk"
    assert validate_data_dir(data, open_audio=True).num_utts == 1
    assert (data / ".backup" / "text").read_bytes().count(b"\n") == 8


def test_what_was_dropped_earlier_stays_listed(data: Path) -> None:
    (data / "dropped").write_text("spk0-100 empty transcript\n")
    assert fix_data_dir(data) == {}
    (data / "text").write_text((data / "text").read_text() + "spk0-200 NO AUDIO\n")
    fix_data_dir(data)
    assert list(read_table(data / "dropped")) == ["spk0-100", "spk0-200"]


def test_where_nothing_is_said_no_utterance_is_dropped_for_that(data: Path) -> None:
    (data / "text").write_text("".join(f"spk0-00{i}\n" for i in range(6)))
    (data / "utt2dur").unlink()
    assert fix_data_dir(data) == {}
    assert validate_data_dir(data).wordless
    read_data_dir(data).utts[2].path.unlink()
    assert list(fix_data_dir(data)) == ["spk0-002"]


def test_segments(data: Path) -> None:
    utts = read_data_dir(data).utts
    utts = [replace(utt, recording=f"rec{i}", start=0.1, end=0.4, duration=0.3) for i, utt in enumerate(utts)]
    utts[1] = replace(utts[1], end=0.6)
    utts[2] = replace(utts[2], start=0.4, end=0.2)
    utts[3] = replace(utts[3], end=None)
    write_data_dir(data, utts)
    (data / "segments").write_text((data / "segments").read_text().replace("spk0-004 rec4", "spk0-004 gone"))
    assert fix_data_dir(data) == {
        "spk0-001": "segment beyond the end of the audio",
        "spk0-002": "segment empty or negative",
        "spk0-004": "its recording gone is not in wav.scp",
    }
    assert read_table(data / "utt2dur") == {"spk0-000": "0.3", "spk0-003": "0.4", "spk0-005": "0.3"}
    assert list(read_table(data / "wav.scp")) == ["rec0", "rec3", "rec5"]
    validate_data_dir(data)


def test_speaker_and_pipe(data: Path) -> None:
    (data / "utt2spk").write_text((data / "utt2spk").read_text().replace("spk0-001 spk0", "spk0-001 anna"))
    wavs = (data / "wav.scp").read_text().splitlines()
    (data / "wav.scp").write_text("\n".join(["spk0-000 cat a.wav |", *wavs[1:], ""]))
    dropped = fix_data_dir(data)
    assert dropped["spk0-001"] == "the id does not begin with that of the speaker, anna"
    assert "found the command 'cat a.wav |'" in dropped["spk0-000"]


def test_other_files_are_kept(data: Path) -> None:
    (data / "spk2gender").write_text("spk0 f\n")
    (data / "conf").mkdir()
    (data / "conf" / "notes").touch()
    (data / "spk2utt").unlink()
    fix_data_dir(data)
    assert (data / "spk2gender").read_text() == "spk0 f\n"
    assert (data / "conf" / "notes").exists()
    assert set(TABLES) - {"segments", "context"} <= {path.name for path in data.iterdir()}


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk"])
def test_without_audio_or_speakers_nothing_is_done(data: Path, name: str) -> None:
    (data / name).unlink()
    before = contents(data)
    with pytest.raises(DataError, match=f"{name}: no such file"):
        fix_data_dir(data)
    assert contents(data) == before


def test_an_empty_result_is_refused(data: Path) -> None:
    (data / "text").write_text("")
    before = contents(data)
    with pytest.raises(
        DataError, match="no utterance would be left, so nothing is changed; the first, spk0-000: not in"
    ):
        fix_data_dir(data)
    assert contents(data) == before


def test_a_second_run_keeps_the_backup_of_the_first(data: Path) -> None:
    for number, backup in ((1, ".backup"), (2, ".backup.2"), (3, ".backup.3")):
        (data / "utt2dur").write_text(f"spk0-000 {number}\n")
        fix_data_dir(data)
        assert (data / backup / "utt2dur").read_text() == f"spk0-000 {number}\n"
    assert (data / ".backup/utt2dur").read_text() == "spk0-000 1\n"


def test_links_and_folders_with_names_of_tables_are_kept_as_they_are(data: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/large").touch()
    (data / "link").symlink_to(tmp_path / "elsewhere")
    (data / "conf").mkdir()
    (data / "conf/text").touch()
    (data / "spk2utt").unlink()
    fix_data_dir(data)
    assert (data / "link").is_symlink() and (data / "conf/text").exists()


def test_a_directory_lost_between_two_renames_is_taken_back(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "spk2utt").unlink()
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)
    if (pid := os.fork()) == 0:
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda self, to: (rename(self, to), os._exit(9)))
        fix_data_dir(data)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert not data.exists()
    fix_data_dir(data)
    assert validate_data_dir(data).num_utts == 6
    assert [path.name for path in data.parent.iterdir() if path.name.startswith(".")] == []


def test_the_working_directory_can_be_fixed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "spk2utt").unlink()
    monkeypatch.chdir(data)
    assert main(["fix", "."]) == 0

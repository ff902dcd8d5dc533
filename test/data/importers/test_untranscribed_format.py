"""A folder of audio without transcripts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.data.importers import Options, untranscribed
from speechllm.data.kaldi.data_dir import read_data_dir, read_table
from speechllm.errors import DataError


def test_audio_is_imported_without_text(tmp_path: Path, record: Callable[..., Path]) -> None:
    first = record(tmp_path / "in/a.wav")
    record(tmp_path / "in/x/b.flac").with_suffix(".txt").write_text("is not read")
    (tmp_path / "in/video.m4a").touch()
    assert main(["import", str(tmp_path / "in"), str(tmp_path / "out"), "--format", "untranscribed"]) == 3
    utts = read_data_dir(tmp_path / "out", need_text=False).utts
    assert [(utt.utt_id, utt.speaker, utt.text) for utt in utts] == [("a", "a", None), ("b", "b", None)]
    assert utts[0].path == first and not (tmp_path / "out/text").exists()
    assert list(read_table(tmp_path / "out/dropped")) == ["video.m4a"]


def test_a_file_is_no_folder(tmp_path: Path, record: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="no such folder, expected a folder of audio files"):
        list(untranscribed.read(record(tmp_path / "a.wav"), tmp_path, Options()))

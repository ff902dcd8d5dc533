"""Folders of audio with metadata."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.errors import ConfigError, DataError

Read = Callable[..., tuple]


def test_metadata_as_csv(tmp_path: Path, read: Read) -> None:
    (tmp_path / "metadata.csv").write_text('file_name,transcription,speaker_id\nx/a.wav,"one, two",5\nb.wav,three\n')
    (row,), bad = read("audiofolder", tmp_path)
    assert (row.path, row.text, row.speaker) == (tmp_path / "x/a.wav", "one, two", "5")
    assert bad == {"metadata.csv:3": "a wrong number of columns: found 2, expected 3"}


def test_metadata_as_json_lines(tmp_path: Path, read: Read) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.wav", "raw": "hi"}\nno\n{"file_name": "b.wav"}\n')
    (row,), bad = read("audiofolder", tmp_path, text="raw")
    assert (row.path, row.text) == (tmp_path / "a.wav", "hi")
    assert [reason.partition(":")[0] for reason in bad.values()] == ["wrong JSON", "no raw"]


def test_splits(tmp_path: Path, read: Read) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "metadata.csv").write_text(f"file_name,text\na.wav,{split}\n")
    (row,), _ = read("audiofolder", tmp_path, split="test")
    assert (row.path, row.text) == (tmp_path / "test/a.wav", "test")
    for split, wanted in (("", "a choice"), ("dev", "dev")):
        with pytest.raises(ConfigError, match=f"found (train, test|test, train), expected {wanted}; give --split NAME"):
            read("audiofolder", tmp_path, split=split)
    (tmp_path / "test/metadata.csv").unlink()
    assert read("audiofolder", tmp_path)[0][0].text == "train"


def test_metadata_without_file_names(tmp_path: Path, read: Read) -> None:
    (tmp_path / "metadata.csv").write_text("name,text\na.wav,hi\n")
    with pytest.raises(
        ConfigError, match=r"metadata\.csv: found the columns name, text, expected 'file_name' for audio"
    ):
        read("audiofolder", tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,words\na.wav,hi\n")
    with pytest.raises(DataError, match=r"--columns text=COLUMN"):
        read("audiofolder", tmp_path)

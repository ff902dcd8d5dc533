"""A folder of audio with transcripts."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.data.importers import Options, folder
from speechllm.errors import DataError


def test_pairs_are_found_at_any_depth(tmp_path: Path, record: Callable[..., Path], read: Callable[..., tuple]) -> None:
    first, second = record(tmp_path / "in/a.wav"), record(tmp_path / "in/x/b.flac")
    first.with_suffix(".txt").write_text("hello\nworld\n")
    second.with_suffix(".txt").write_bytes(b"\xef\xbb\xbfgr\xc3\xbc\xc3\x9fe")  # as Windows writes it
    rows, bad = read("folder", tmp_path / "in")
    assert bad == {}
    assert [(row.path, row.text.strip()) for row in rows] == [(first, "hello\nworld"), (second, "gr\u00fc\u00dfe")]
    assert {row.speaker for row in rows} == {""}


def test_what_makes_no_pair_is_told(tmp_path: Path, record: Callable[..., Path], read: Callable[..., tuple]) -> None:
    for name in ("good", "lonely", "bytes", "twice"):
        record(tmp_path / f"in/{name}.wav")
    record(tmp_path / "in/twice.flac")
    for name in ("good", "bytes", "twice", "silent", "video"):
        (tmp_path / f"in/{name}.txt").write_text("hello")
    (tmp_path / "in/bytes.txt").write_bytes(b"caf\xe9")
    (tmp_path / "in/video.m4a").touch()
    (tmp_path / "in/notes.md").touch()
    rows, bad = read("folder", tmp_path / "in")
    assert [row.where for row in rows] == ["good"]
    assert {where: reason.partition(":")[0] for where, reason in bad.items()} == {
        "lonely": "audio without transcript",
        "silent": "transcript without audio",
        "bytes": "not UTF-8",
        "twice": "two files of one name",
        "video": "unreadable audio",
    }


def test_audio_that_cannot_be_read_is_told(
    tmp_path: Path, record: Callable[..., Path], read: Callable[..., tuple]
) -> None:
    source = tmp_path / "in"
    record(source / "good.wav").with_suffix(".txt").write_text("hello")
    record(tmp_path / "far/linked.wav").with_suffix(".txt").write_text("hello")
    (source / "link").symlink_to(tmp_path / "far")
    (source / "link/cycle").symlink_to(source)
    for name in ("._good.wav", "lonely.m4a", "pair.webm", "pair.txt"):
        (source / name).touch()
    (source / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(source / "pipe.wav")
    rows, bad = read("folder", source)
    assert [row.where for row in rows] == ["good", "link/linked"]
    assert {where: reason.partition(":")[0] for where, reason in bad.items()} == dict.fromkeys(
        ("lonely", "pair", "gone", "pipe"), "unreadable audio"
    )
    assert "ffmpeg -i" in bad["lonely"] and "a named pipe" in bad["pipe"]


def test_a_folder_of_nothing_but_other_formats_is_claimed(tmp_path: Path, read: Callable[..., tuple]) -> None:
    for name in ("a.m4a", "a.txt"):
        (tmp_path / name).write_text("hello")
    rows, bad = read("folder", tmp_path)
    assert rows == [] and list(bad) == ["a"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert not folder.claims(tmp_path / "a.txt")
    assert not folder.claims(tmp_path)
    with pytest.raises(DataError, match=r"a\.txt: no such folder, expected a folder of audio files"):
        list(folder.read(tmp_path / "a.txt", tmp_path, Options()))

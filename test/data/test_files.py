"""Entries of folders: links, cycles, hidden files, and entries that are no files."""

import os
from pathlib import Path

from speechllm.data.audio.formats import left_out
from speechllm.data.files import entries_below, files_below


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    corpus, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    for path in (corpus / "b/real.wav", elsewhere / "x/far.wav"):
        path.parent.mkdir(parents=True)
        path.touch()
    (corpus / "a_link").symlink_to(elsewhere)
    (corpus / "z_again").symlink_to(elsewhere / "x")  # reached by a_link already
    (corpus / "a_inside").symlink_to(corpus / "b")  # reached without a link
    (corpus / "b/cycle").symlink_to(corpus)
    (elsewhere / "x/back").symlink_to(elsewhere)
    assert files_below(corpus) == [corpus / "a_link/x/far.wav", corpus / "b/real.wav"]


def test_a_folder_named_by_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.wav").touch()
    (tmp_path / "link").symlink_to("real")
    assert files_below(tmp_path / "link") == [tmp_path / "link/a.wav"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.wav", "._a.wav", ".git/b.wav", "sub/.c.wav", "sub/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert entries_below(tmp_path) == [tmp_path / "a.wav", tmp_path / "sub/d.wav"]


def test_entries_that_cannot_be_read_have_a_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "broken.wav").symlink_to("nowhere.wav")
    (tmp_path / "itself.wav").symlink_to("itself.wav")
    for name in ("a.wav", "b.M4A", "notes.txt", "video.mkv"):
        (tmp_path / name).touch()
    reasons = {path.name: left_out(path) for path in entries_below(tmp_path)}
    assert files_below(tmp_path) == [tmp_path / name for name in ("a.wav", "b.M4A", "notes.txt", "video.mkv")]
    assert reasons.pop("a.wav") is None and reasons.pop("notes.txt") is None
    assert {name: str(reason).partition(",")[0].partition(";")[0] for name, reason in reasons.items()} == {
        "pipe.wav": "a named pipe",
        "broken.wav": "a link to a missing file",
        "itself.wav": "a link to a missing file",
        "b.M4A": ".M4A is an unsupported format",
        "video.mkv": ".mkv is an unsupported format",
    }

"""Complete or not there."""

from pathlib import Path

import pytest

from speechllm.atomic import new_dir, new_file


def test_a_file_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    with new_file(tmp_path / "deep" / "file") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "file").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(RuntimeError), new_file(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_replaces_the_one_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "old").touch()
    with new_dir(tmp_path / "dir") as temporary:
        (temporary / "new").touch()
        assert (tmp_path / "dir" / "old").exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["dir", "new"]


def test_a_failure_leaves_the_directory_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "old").touch()
    with pytest.raises(RuntimeError), new_dir(tmp_path / "dir") as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["dir", "old"]

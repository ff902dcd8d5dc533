"""Atomic files and directories."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm import atomic
from speechllm.atomic import new_dir, new_file, recover_dir


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


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)


@pytest.mark.usefixtures("no_exchange")
def test_a_directory_is_replaced_where_the_system_cannot_exchange_two(tmp_path: Path) -> None:
    test_a_directory_replaces_the_one_that_was_there(tmp_path)


def killed(function: Callable[[], None], name: str) -> None:
    """Call a function in a process that ends in place of the call of ``os.<name>`` for a temporary path."""

    def end(*_: object, **__: object) -> None:
        os._exit(9)

    if (pid := os.fork()) == 0:
        try:
            setattr(os, name, end)
            function()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def replace_dir(path: Path) -> None:
    with new_dir(path) as temporary:
        (temporary / "new").touch()


def test_a_directory_is_there_wherever_its_replacement_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "old").touch()
    killed(lambda: replace_dir(tmp_path / "dir"), "rmdir")  # behind the exchange
    assert [path.name for path in (tmp_path / "dir").iterdir()] == ["new"]
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)

    def die_between() -> None:
        rename = Path.rename
        Path.rename = lambda self, to: (rename(self, to), os._exit(9))
        replace_dir(tmp_path / "dir")

    killed(die_between, "unused")
    assert not (tmp_path / "dir").exists()
    recover_dir(tmp_path / "dir")
    assert [path.name for path in (tmp_path / "dir").iterdir()] == ["new"]


def test_files_of_killed_processes_are_removed_and_those_of_others_kept(tmp_path: Path) -> None:
    names = [f".x.{2**22 + 1}@{atomic._host()}.tmp", f".x.{os.getppid()}@{atomic._host()}.tmp", ".x.1@elsewhere.tmp"]
    for name in (*names, ".mine.tmp", "x.5@host.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".y.1@elsewhere.tmp").mkdir()
    os.utime(tmp_path / ".y.1@elsewhere.tmp", (0, 0))  # long ago
    with new_file(tmp_path / "file") as temporary:
        temporary.touch()
    assert {path.name for path in tmp_path.iterdir()} == {*names[1:], ".mine.tmp", "x.5@host.tmp", "file"}


def test_a_killed_writer_leaves_a_file_that_the_next_one_removes(tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "file") as temporary:
            temporary.write_text("half")
            os._exit(9)

    killed(write, "unused")
    assert len(list(tmp_path.iterdir())) == 1
    with new_file(tmp_path / "other") as temporary:
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    with new_file(tmp_path / ("ä" * 127)) as temporary:
        temporary.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["ä" * 127]


def test_a_symbolic_link_stays_and_its_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/dir").mkdir()
    (tmp_path / "dir").symlink_to("disk/dir")
    replace_dir(tmp_path / "dir")
    assert (tmp_path / "dir").is_symlink()
    assert [path.name for path in (tmp_path / "disk").rglob("*")] == ["dir", "new"]


def test_a_file_is_not_replaced_by_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError):
        replace_dir(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path.name, (tmp_path / "made").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with new_file(tmp_path / "made") as temporary:
        temporary.touch()
    assert synced == [(temporary.name, False), (tmp_path.name, True)]
    synced.clear()
    (tmp_path / "made").unlink()
    with new_dir(tmp_path / "made") as folder:
        (folder / "file").touch()
    assert synced == [("file", False), (folder.name, False), (tmp_path.name, True)]
    synced.clear()
    with new_file(tmp_path / "small", sync=False) as temporary:
        temporary.touch()
    assert synced == []

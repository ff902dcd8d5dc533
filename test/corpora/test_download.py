"""Interrupted, corrupt, missing and complete downloads, and unpacking of archives."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from range_server import Server

from speechllm.corpora._download import download_openslr, fetch, published_md5, unpack
from speechllm.errors import DataError

BODY = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def url(server: Server) -> str:
    server.files["/file"] = BODY
    return f"{server.url}/file"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(server: Server, url: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    fetch(url, target, MD5)
    assert target.read_bytes() == BODY
    assert names(target.parent) == ["file"]
    fetch(url, target, MD5)
    assert server.requests == [("/file", None)]


def test_a_file_with_another_checksum_is_fetched_anew(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    fetch(url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_cut_connection_is_taken_up_where_it_broke(server: Server, url: str, tmp_path: Path) -> None:
    server.cuts = [2_000_000, 500_000]
    fetch(url, tmp_path / "file", MD5, pause=0.001)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", None), ("/file", "bytes=2000000-"), ("/file", "bytes=2500000-")]


def test_an_earlier_run_is_taken_up_where_it_was_killed(server: Server, url: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:1_234_567])
    fetch(url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", "bytes=1234567-")]
    assert names(tmp_path) == ["file"]


def test_an_unfinished_file_that_is_complete_is_taken(server: Server, url: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY)
    fetch(url, tmp_path / "file", MD5)
    assert server.requests == [("/file", f"bytes={len(BODY)}-")]
    assert names(tmp_path) == ["file"]


def test_an_unfinished_file_that_is_too_long_is_thrown_away(url: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY + b"more")
    fetch(url, tmp_path / "file", MD5, pause=0.001)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_server_that_ignores_range_sends_all_again(server: Server, url: str, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    fetch(url, tmp_path / "file", MD5)
    assert (tmp_path / "file").read_bytes() == BODY


def test_another_part_than_asked_for_is_not_appended(server: Server, url: str, tmp_path: Path) -> None:
    server.shift = 10
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    fetch(url, tmp_path / "file", MD5, pause=0.001)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == [("/file", "bytes=1000-"), ("/file", None)]


def test_a_connection_that_brings_nothing_is_given_up_and_kept(server: Server, url: str, tmp_path: Path) -> None:
    server.cuts = [1_000_000, *[0] * 10]
    with pytest.raises(
        DataError, match=r"connection lost \(1000000 of 3000000 bytes received\), 1000000 bytes are in .*part"
    ):
        fetch(url, tmp_path / "file", MD5, pause=0.001)
    server.cuts = []
    fetch(url, tmp_path / "file", MD5)
    assert server.requests[-1] == ("/file", "bytes=1000000-")
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_busy_server_is_asked_again(server: Server, url: str, tmp_path: Path) -> None:
    server.statuses = [503, 429, 500]
    fetch(url, tmp_path / "file", MD5, pause=0.001)
    assert len(server.requests) == 4


def test_a_wrong_checksum_is_an_error_and_nothing_is_kept(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=f"{url}: found the MD5 checksum {MD5}, expected {'0' * 32}; the file was deleted"
    ):
        fetch(url, tmp_path / "file", "0" * 32)
    assert names(tmp_path) == []


def test_what_the_server_does_not_have(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{server.url}/gone: the server replied 404 Not Found"):
        fetch(f"{server.url}/gone", tmp_path / "gone")
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/file: connection lost \(.*refused"):
        fetch("http://127.0.0.1:9/file", tmp_path / "file", pause=0.001)


def test_checksums_are_read_as_md5sum_writes_them(server: Server) -> None:
    server.files["/md5sum.txt"] = b"AB12  a.tar.gz\ncd34 *./b.tar.gz\n\n"
    assert published_md5(f"{server.url}/md5sum.txt") == {"a.tar.gz": "ab12", "b.tar.gz": "cd34"}


def test_openslr(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/31/md5sum.txt"] = f"{MD5}  a.tar.gz\n".encode()
    server.files["/31/a.tar.gz"] = BODY
    monkeypatch.setenv("OPENSLR_URL", f"{server.url}/")
    assert download_openslr(31, "a.tar.gz", tmp_path).read_bytes() == BODY
    with pytest.raises(DataError, match=r"31/md5sum.txt: found checksums of a.tar.gz, expected b.tar.gz"):
        download_openslr(31, "b.tar.gz", tmp_path)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_folder_is_unpacked_with_what_lies_beside_it(tmp_path: Path) -> None:
    file = archive(
        tmp_path / "a.tgz", {"Libri/set/1/a": b"A", "Libri/README": b"new", "Libri/NOTES": b"N", "Libri/b/c": b"C"}
    )
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "README").write_text("old")
    unpack(file, "Libri/set", tmp_path / "root" / "set")
    assert names(tmp_path / "root") == ["NOTES", "README", "set"]
    assert (tmp_path / "root" / "set" / "1" / "a").read_text() == "A"
    assert (tmp_path / "root" / "README").read_text() == "old"


@pytest.mark.parametrize("name", ["../out", "/etc/out", "Libri/../../../out"])
def test_a_member_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    file = archive(tmp_path / "a.tgz", {"Libri/set/a": b"A", name: b"bad"})
    (tmp_path / "root").mkdir()
    with pytest.raises(DataError, match=r"a\.tgz: cannot be unpacked .*outside"):
        unpack(file, "Libri/set", tmp_path / "root" / "set")
    assert names(tmp_path) == ["a.tgz", "root"]
    assert names(tmp_path / "root") == []


@pytest.mark.parametrize("kept", [10, 300_000])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, kept: int) -> None:
    file = archive(tmp_path / "a.tgz", {"Libri/set/a": BODY[:400_000], "Libri/set/b": BODY[:10]})
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"a\.tgz: cannot be unpacked .*delete it and run the same command again"):
        unpack(file, "Libri/set", tmp_path / "set")
    assert names(tmp_path) == ["a.tgz"]


def test_an_archive_without_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no folder Libri/set in the archive"):
        unpack(archive(tmp_path / "a.tgz", {"Libri/other/a": b""}), "Libri/set", tmp_path / "set")

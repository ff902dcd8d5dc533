"""Kaldi's text tables."""

from pathlib import Path

import pytest

from speechllm.data.kaldi.table import is_sorted, read_ids, read_table, scan_table, write_table
from speechllm.errors import DataError


def test_what_is_written_is_read_back_sorted_by_bytes(tmp_path: Path) -> None:
    table = {
        "b-1": "ZWEI  WÖRTER",
        "a_1": "x",
        "a-1": "y",
        "B-1": "z",
        "ü-1": "u",
        "\U0001f600": "smile",
        "\uffee": "o",
    }
    write_table(tmp_path / "text", table)
    found = read_table(tmp_path / "text")
    assert found == table
    assert list(found) == sorted(table, key=str.encode)  # LC_ALL=C
    assert (tmp_path / "text").read_bytes().startswith(b"B-1 z\na-1 y\na_1 x\n")


def test_an_empty_value_is_read_only_where_it_is_allowed(tmp_path: Path) -> None:
    write_table(tmp_path / "text", {"a": "", "b": "B"})
    assert read_table(tmp_path / "text", allow_empty=True) == {"a": "", "b": "B"}
    with pytest.raises(DataError, match=r"text:1: nothing after the id, found 'a'"):
        read_table(tmp_path / "text")


def test_tabs_and_windows_line_ends_are_white_space(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\tHELLO  YOU \r\nb  B\r\n")
    assert read_table(tmp_path / "text") == {"a": "HELLO  YOU", "b": "B"}


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a one\u2028two\x0bthree\u00a0four\nb five", encoding="utf-8")
    assert read_table(tmp_path / "text") == {"a": "one\u2028two\x0bthree\u00a0four", "b": "five"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1\nb 2\nb 3\n", "text:3: a duplicate id, found 'b'"),
        (b"b 1\na 2\n", r"text:2: not sorted \(LC_ALL=C\), found 'a'"),
        (b"a 1\nb\n", "text:2: nothing after the id, found 'b'"),
        (b"a 1\nb \xff\n", "text:2: not UTF-8, found 'b'"),
        (b"a 1\n\nb 2\n", "text:2: an empty line"),
        (b"a 1\nb \0\n", "text:2: a NUL character, found 'b'"),
        (b"a 1\nb\0 2\n", r"text:2: a NUL character, found 'b\\\\0'"),
    ],
)
def test_a_flaw_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "text")


def test_a_scan_goes_on_behind_a_flaw(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"b 1\na 2\n\xff 3\nb 4\nc\nd 5\n")
    rows, flaws = scan_table(tmp_path / "text")
    assert rows == [("b", "1"), ("a", "2"), ("b", "4"), ("d", "5")]
    assert [flaw.line for flaw in flaws] == [2, 3, 4, 5]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="text: no such file"):
        read_table(tmp_path / "text")


@pytest.mark.parametrize("table", [{"a b": "x"}, {"": "x"}, {"a": "x\ny"}, {"a\n": "x"}, {"a": "\0"}, {"\0": "x"}])
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, table: dict[str, str]) -> None:
    (tmp_path / "text").write_text("as it was\n")
    with pytest.raises(DataError, match="text: found the line"):
        write_table(tmp_path / "text", table)
    assert (tmp_path / "text").read_text() == "as it was\n"
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_ids_of_a_list_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("b\na something\nb\n")
    assert read_ids(tmp_path / "list") == {"a", "b"}
    (tmp_path / "list").write_text("b\n\na\n")
    with pytest.raises(DataError, match="list:2: an empty line"):
        read_ids(tmp_path / "list")


def test_a_byte_order_mark_is_no_part_of_the_first_id(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfa 1\nb 2\n")
    assert read_table(tmp_path / "text") == {"a": "1", "b": "2"}
    assert scan_table(tmp_path / "text") == ([("a", "1"), ("b", "2")], [])
    assert is_sorted(tmp_path / "text")
    assert read_ids(tmp_path / "text") == {"a", "b"}
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbf")
    assert read_table(tmp_path / "text") == {}

"""Tables of paths, transcripts and maybe speakers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.errors import ConfigError, DataError

Read = Callable[..., tuple]


def test_two_or_three_columns(tmp_path: Path, record: Callable[..., Path], read: Read) -> None:
    record(tmp_path / "clips/a b.wav")
    (tmp_path / "two.tsv").write_bytes(b'clips/a b.wav\tsay "hi"\r\n\n')
    (tmp_path / "three.tsv").write_text("clips/a b.wav\thello\tann\n")
    (row,), bad = read("table", tmp_path / "two.tsv")
    assert (row.path, row.text, row.speaker, bad) == (tmp_path / "clips/a b.wav", 'say "hi"', "", {})
    (row,), _ = read("table", tmp_path / "three.tsv")
    assert (row.text, row.speaker, row.where) == ("hello", "ann", "three.tsv:1")


def test_names_of_columns_in_any_order(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text(
        'age,sentence,path,client_id\n7,"one, ""two""\nthree",/x/a.wav,bob\n8,four,b.wav,al\n'
    )
    rows, bad = read("table", tmp_path / "a.csv")
    assert [(str(row.path), row.text, row.speaker, row.where) for row in rows] == [
        ("/x/a.wav", 'one, "two"\nthree', "bob", "a.csv:3"),
        (str(tmp_path / "b.wav"), "four", "al", "a.csv:4"),
    ]
    assert bad == {}


def test_other_names_of_columns(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.tsv").write_text("n\trecording\twords\n1\ta.wav\thello\n")
    (row,), _ = read("table", tmp_path / "a.tsv", audio="recording", text="words", id="n")
    assert (row.path.name, row.text, row.utt_id) == ("a.wav", "hello", "1")
    with pytest.raises(ConfigError, match=r"a\.tsv: found the columns n, recording, words, expected 'word' for text"):
        read("table", tmp_path / "a.tsv", audio="recording", text="word")
    with pytest.raises(DataError, match=r"expected one of text, sentence, .* for text; .*--columns text=COLUMN"):
        read("table", tmp_path / "a.tsv", audio="recording")


def test_lines_that_cannot_be_read_are_told(tmp_path: Path, read: Read) -> None:
    lines = [b"a.wav\thello", b"b.wav", b"c.wav\ttab\tin it", b"d.wav\tcaf\xe9", b"\tno path", b"e.wav\t"]
    (tmp_path / "a.tsv").write_bytes(b"\n".join(lines))
    rows, bad = read("table", tmp_path / "a.tsv")
    assert [row.path.name for row in rows] == ["a.wav", "e.wav"]
    assert bad == {
        "a.tsv:2": "a wrong number of columns: found 1, expected 2",
        "a.tsv:3": "a wrong number of columns: found 3, expected 2",
        "a.tsv:4": f"not UTF-8: line 4 of {tmp_path / 'a.tsv'}",
        "a.tsv:5": "no path of an audio file",
    }


def test_an_open_quote_is_an_error(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text('path,text\na.wav,"hello\nb.wav,bye\n')
    with pytest.raises(DataError, match=r"a\.csv:3: invalid CSV \(.*\); check for a missing quote"):
        read("table", tmp_path / "a.csv")


def test_a_path_is_looked_for_beside_the_table_then_here(
    tmp_path: Path, record: Callable[..., Path], read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = record(tmp_path / "here/a.wav")
    monkeypatch.chdir(here.parent)
    (tmp_path / "a.tsv").write_text("a.wav\thello\n")
    assert read("table", tmp_path / "a.tsv")[0][0].path == here
    beside = record(tmp_path / "a.wav")
    assert read("table", tmp_path / "a.tsv")[0][0].path == beside

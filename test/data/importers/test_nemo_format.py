"""NeMo manifests."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.data.importers import Options, nemo
from speechllm.errors import DataError

Read = Callable[..., tuple]


def test_a_manifest(tmp_path: Path, read: Read) -> None:
    lines = [
        {"audio_filepath": "a.wav", "text": "hello", "duration": 1.5},
        {"audio_filepath": "/x/b.wav", "text": "bye", "duration": 2, "offset": 0.5, "speaker": "ann", "lang": "en"},
        {"audio_filepath": "c.wav", "text": "", "duration": None, "speaker": 7},
    ]
    (tmp_path / "m.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows, bad = read("nemo", tmp_path / "m.json")
    assert bad == {}
    assert [(str(r.path), r.text, r.start, r.duration, r.speaker) for r in rows] == [
        (f"{tmp_path}/a.wav", "hello", 0.0, 1.5, ""),
        ("/x/b.wav", "bye", 0.5, 2.0, "ann"),
        (f"{tmp_path}/c.wav", "", 0.0, None, "7"),
    ]


def test_other_keys_and_packed(tmp_path: Path, read: Read) -> None:
    line = json.dumps({"audio_filepath": "a.wav", "text": "x", "pnc": "Hello.", "reader": "ann"})
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    (row,), _ = read("nemo", tmp_path / "m.jsonl.gz", text="pnc", speaker="reader")
    assert (row.text, row.speaker) == ("Hello.", "ann")


def test_lines_that_cannot_be_read_are_told_with_their_numbers(tmp_path: Path, read: Read) -> None:
    good = b'{"audio_filepath": "a.wav", "text": "hello"}'
    wrong = [
        b'{"audio_filepath": "a.wav", "text": "hello"',
        b'["a.wav", "hello"]',
        b'{"audio_filepath": "a.wav", "text": "caf\xe9"}',
        b'{"audio_filepath": "a.wav"}',
        b'{"text": "hello"}',
        b'{"audio_filepath": "a.wav", "text": "hello", "duration": "long"}',
        b'{"audio_filepath": "a.wav", "text": ["hello"]}',
        b'{"audio_filepath": "a.wav", "text": "hello", "duration": NaN}',
        b'{"audio_filepath": "a.wav", "text": "hello", "duration": -Infinity}',
        b'{"audio_filepath": "a.wav", "text": "hello", "offset": 1e999}',
        b'{"audio_filepath": "a.wav", "text": "hello", "offset": ' + b"9" * 400 + b"}",
        b'{"audio_filepath": "a.wav", "text": "hello", "offset": ' + b"9" * 5000 + b"}",
    ]
    (tmp_path / "m.json").write_bytes(b"\n".join([good, b"", *wrong]))
    rows, bad = read("nemo", tmp_path / "m.json")
    assert len(rows) == 1
    assert [reason.partition(":")[0] for reason in bad.values()] == [
        "wrong JSON",
        "wrong JSON",
        "not UTF-8",
        "no text",
        "no audio_filepath",
        "a wrong duration",
        "no text",
        "a wrong duration",
        "a wrong duration",
        "a wrong offset",
        "a wrong offset",
        "wrong JSON",
    ]
    assert list(bad) == [f"m.json:{number}" for number in range(3, 15)]
    assert f"line 3 of {tmp_path / 'm.json'}" in bad["m.json:3"]


def test_a_damaged_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.json.gz").write_bytes(gzip.compress(b"{}" * 1000)[:-9])
    for name in ("m.json.gz", "gone.json"):
        assert not nemo.claims(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: cannot be read \(.*\); check the path"):
            list(nemo.read(tmp_path / name, tmp_path, Options()))

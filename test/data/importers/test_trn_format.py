"""Transcripts followed by ids."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.data.importers import Options, trn
from speechllm.errors import DataError

Record = Callable[..., Path]
Read = Callable[..., tuple]


def test_sclite_has_speakers(tmp_path: Path, record: Record, read: Read) -> None:
    for name in ("ann-1", "audio/bob-2", "3"):
        record(tmp_path / f"{name}.wav")
    (tmp_path / "ref.trn").write_bytes(
        b"\xef\xbb\xbfHELLO THERE (ann-1)\r\n;; comment\n\nBYE (NOW) (bob-2)\nA NUMBER (cy-3)\n (ann-4)\n"
    )
    rows, bad = read("trn", tmp_path / "ref.trn")
    assert [(row.utt_id, row.speaker, row.text, row.path.name) for row in rows] == [
        ("ann-1", "ann", "HELLO THERE", "ann-1.wav"),
        ("bob-2", "bob", "BYE (NOW)", "bob-2.wav"),
        ("cy-3", "cy", "A NUMBER", "3.wav"),
    ]
    assert bad == {"ref.trn:6": "no audio files of one id: ann-4"}


def test_sphinx_has_its_audio_in_another_folder(tmp_path: Path, record: Record, read: Read) -> None:
    for name in ("wav/one/a", "wav/two/a", "wav/b-1"):
        record(tmp_path / f"{name}.wav")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x.transcription").write_text(
        "<s> hello <sil> there </s> (wav/one/a)\n<s> bye </s> (wav/two/a)\nnow (b-1)\nwhich (a)\n"
    )
    rows, bad = read("trn", tmp_path / "etc/x.transcription")
    assert [(row.text, row.speaker, row.path.relative_to(tmp_path / "wav").as_posix()) for row in rows] == [
        ("hello there", "", "one/a.wav"),
        ("bye", "", "two/a.wav"),
        ("now", "", "b-1.wav"),
    ]
    assert bad == {"x.transcription:4": "two audio files of one id: a"}


def test_lines_that_cannot_be_read_are_listed(tmp_path: Path, record: Record, read: Read) -> None:
    record(tmp_path / "a.wav")
    (tmp_path / "x.trn").write_bytes(b"no id\ncaf\xe9 (a)\n{ one / two } (a)\ngood (a)\n")
    rows, bad = read("trn", tmp_path / "x.trn")
    assert [row.text for row in rows] == ["good"]
    assert [reason.partition(":")[0] for reason in bad.values()] == [
        "no id",
        "not UTF-8",
        "alternatives in the transcript",
    ]


def test_without_audio_there_is_nothing_to_import(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/x.trn").write_text("A (a)\n")
    with pytest.raises(DataError, match="found no audio file"):
        list(trn.read(tmp_path / "inner/x.trn", tmp_path, Options()))
    with pytest.raises(DataError, match="cannot be read"):
        list(trn.read(tmp_path / "gone.trn", tmp_path, Options()))

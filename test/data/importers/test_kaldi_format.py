"""Kaldi data directories."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.data.importers import Options, kaldi
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.kaldi.write_rows import write_rows
from speechllm.errors import DataError

Read = Callable[..., tuple]


def write(folder: Path, **tables: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in tables.items():
        (folder / name.replace("wav", "wav.scp")).write_text(text)
    return folder


def test_ids_stay_and_paths_are_found(tmp_path: Path, record: Callable[..., Path], read: Read) -> None:
    record(tmp_path / "egs/wavs/r.wav", 3)
    source = write(
        tmp_path / "egs/data/train",
        wav="r+1 wavs/r.wav\n",
        segments="b-=1 r+1 0.5 1.5\nb-=2 r+1 2 -1\n",
        text="b-=1 one\nb-=2 two\n",
        utt2spk="b-=1 b-\nb-=2 b-\n",
    )
    rows, bad = read("kaldi", source)
    assert bad == {}
    assert [(r.utt_id, r.speaker, r.recording, r.start, r.duration) for r in rows] == [
        ("b-=1", "b-", "r+1", 0.5, 1.0),
        ("b-=2", "b-", "r+1", 2.0, None),
    ]
    write_rows(tmp_path / "out", rows, "import", keep_ids=kaldi.KEEPS_IDS)
    for name in ("text", "utt2spk"):
        assert (tmp_path / "out" / name).read_text() == (source / name).read_text()
    assert (tmp_path / "out/wav.scp").read_text() == f"r+1 {tmp_path}/egs/wavs/r.wav\n"
    assert [utt.duration for utt in read_data_dir(tmp_path / "out").utts] == [1.0, 1.0]


def test_without_utt2spk_an_utterance_is_its_speaker(tmp_path: Path, read: Read) -> None:
    (row,), _ = read("kaldi", write(tmp_path / "in", wav="a /x/a.wav\n", text="a hello\n"))
    assert (row.utt_id, row.speaker, row.duration) == ("a", "a", None)


def test_what_cannot_be_used_is_told(tmp_path: Path, read: Read) -> None:
    wavs = [*"bcdefg"]
    source = write(
        tmp_path / "in",
        wav="".join(f"{utt} /x/{utt}.wav\n" for utt in wavs) + "h sox h.wav |\n",
        text="b hello\nd hello\nd again\ne hello\nf hello\nh hello\ni hello\n",
        utt2spk="b b\nc c\nd d\ne x\nf\nh h\ni i\n",
    )
    (source / "text").write_bytes((source / "text").read_bytes() + b"g caf\xe9\n")
    rows, bad = read("kaldi", source)
    assert [row.utt_id for row in rows] == ["b"]
    assert {utt: reason.partition(":")[0] for utt, reason in bad.items()} == {
        "c": "not in text",
        "d": "a duplicate id",
        "e": "an id that does not begin with the speaker's",
        "f": "nothing after the id",
        "g": "not UTF-8",
        "h": "a command",
        "i": "not in wav.scp",
    }


def test_a_directory_without_transcripts_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "in", wav="a /x/a.wav\n")
    with pytest.raises(DataError, match="text: no such file"):
        list(kaldi.read(source, tmp_path, Options()))

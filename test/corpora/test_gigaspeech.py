"""GigaSpeech in its released layout, with possible errors."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllm.corpora import gigaspeech
from speechllm.data.audio import read as audio
from speechllm.data.dump import dump_job
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.kaldi.table import read_table
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError

SEGMENTS = 4


def recording(root: Path, aid: str, subsets: list[str]) -> dict[str, Any]:
    """Write four seconds of noise as Opus; return the entry of a recording with a segment in each."""
    path = root / f"audio/podcast/P0000/{aid}.opus"
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(aid)).uniform(-0.1, 0.1, SEGMENTS * 16000)
    soundfile.write(path, noise, 16000, format="OGG", subtype="OPUS")
    segments = [
        {
            "sid": f"{aid}_S{k:07d}",
            "speaker": "N/A",
            "begin_time": float(k),
            "end_time": k + 0.9,
            "text_tn": f"SEGMENT <COMMA> NUMBER {k} <PERIOD>",
            "subsets": subsets,
        }
        for k in range(SEGMENTS)
    ]
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    return {
        "aid": aid,
        "path": str(path.relative_to(root)),
        "md5": md5,
        "subsets": subsets,
        "segments": segments,
        "title": 'A "title"',
    }


@pytest.fixture
def audios(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the entries of a corpus in tmp_path: two recordings for training, the later id first, and one to test."""
    train = ["{XS}", "{S}"]
    return [recording(tmp_path, name, sets) for name, sets in (("POD2", train), ("POD1", train), ("YOU1", ["{TEST}"]))]


def prepare(root: Path, audios: list[Any], *sets: str) -> Path:
    (root / "GigaSpeech.json").write_text(json.dumps({"dataset": "GigaSpeech", "audios": audios}))
    gigaspeech.prepare(root, root / "data", list(sets))
    return root / "data"


def reasons(data_dir: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in (data_dir / "dropped").read_text().splitlines())


def test_sets_become_valid_data_directories(tmp_path: Path, audios: list[dict[str, Any]]) -> None:
    data = prepare(tmp_path, audios, "xs", "test")
    assert validate_data_dir(data / "xs").num_utts == 8
    assert validate_data_dir(data / "test").num_utts == 4
    first = read_data_dir(data / "xs").utts[0]
    assert (first.utt_id, first.speaker, first.recording) == ("POD1_S0000000", "POD1_S0000000", "POD1")
    assert (first.text, first.start, first.end) == ("SEGMENT NUMBER 0", 0.0, 0.9)
    assert not (data / "xs/dropped").exists()
    with pytest.raises(DataError, match="found no usable utterance"):
        prepare(tmp_path, audios, "dev")


def test_nothing_is_done_where_nothing_has_changed(tmp_path: Path, audios: list[dict[str, Any]]) -> None:
    data = prepare(tmp_path, audios, "xs")
    before = (data / "xs/text").stat().st_ino
    gigaspeech.prepare(tmp_path, data, ["xs", "test"])
    assert (data / "xs/text").stat().st_ino == before
    (tmp_path / audios[0]["path"]).write_bytes((tmp_path / audios[1]["path"]).read_bytes())
    gigaspeech.prepare(tmp_path, data, ["xs"])
    assert (data / "xs/text").stat().st_ino != before


def test_what_cannot_be_used_is_listed_and_the_rest_goes_through(tmp_path: Path, audios: list[dict[str, Any]]) -> None:
    flaws: dict[str, dict[str, Any]] = {
        "garbage utterance: <MUSIC>": {"text_tn": "<MUSIC>"},
        "segment empty or negative": {"begin_time": 2.0, "end_time": 1.0},
        "segment beyond the end of the audio": {"end_time": 9.0},
        "segment overlapping another": {"begin_time": 0.2, "end_time": 0.8},
        "wrong times: None": {"begin_time": None},
        "empty transcript": {"text_tn": "<COMMA> <PERIOD>"},
        "unknown tag: <FOO>": {"text_tn": "A <FOO> B"},
        "wrong segment id": {"sid": "another id"},
    }
    for k, flaw in enumerate(flaws.values(), start=10):
        start = {"begin_time": 3.91, "end_time": 3.99, "text_tn": "X", "subsets": ["{XS}"]}
        audios[0]["segments"].append({"sid": f"POD2_S{k:07d}", **start, **flaw})
    content = (tmp_path / audios[0]["path"]).read_bytes()
    for name, found in (("POD3", None), ("POD4", content[: len(content) // 2]), ("POD5", content + b"x")):
        audios.append(recording(tmp_path, name, ["{XS}"]))
        path = tmp_path / audios[-1]["path"]
        path.unlink() if found is None else path.write_bytes(found)
    audios[-2]["md5"] = None  # not told
    data = prepare(tmp_path, [*audios, "no recording", {"aid": "POD6", "segments": 3}, audios[1]], "xs")
    found = reasons(data / "xs")
    for k, reason in enumerate(flaws, start=10):
        key = f"POD2_S{k:07d}" if reason != "wrong segment id" else "POD2[11]"
        assert key in found, (key, found)
        assert found[key].startswith(reason.split(": None")[0]), found[key]
    assert found["POD3_S0000000"].startswith("missing audio: ")
    assert found["POD4_S0000000"].startswith("unusable audio: ")
    assert found["POD5_S0000000"].startswith("wrong MD5 checksum: ")
    assert found["POD1_S0000000"] == "recording that is listed twice"
    assert found["GigaSpeech.json"].startswith("no recording: found ")
    assert validate_data_dir(data / "xs").num_utts == 8


def test_checksums_are_not_compared_if_not_wanted(
    tmp_path: Path, audios: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    audios[0]["md5"] = "0" * 32
    assert len(read_data_dir(prepare(tmp_path, audios, "xs") / "xs").utts) == 4
    monkeypatch.setenv("GIGASPEECH_MD5", "false")
    assert len(read_data_dir(prepare(tmp_path, audios, "xs") / "xs").utts) == 8


def test_a_json_that_is_cut_gives_what_lies_before(tmp_path: Path, audios: list[dict[str, Any]]) -> None:
    prepare(tmp_path, audios, "xs")
    path = tmp_path / "GigaSpeech.json"
    text = path.read_text()
    path.write_text(text[: text.index("POD1_S0000002")])
    gigaspeech.prepare(tmp_path, tmp_path / "data", ["xs"])
    assert [utt.utt_id for utt in read_data_dir(tmp_path / "data/xs").utts] == [f"POD2_S{k:07d}" for k in range(4)]
    assert reasons(tmp_path / "data/xs")["GigaSpeech.json"].startswith(
        "truncated or damaged JSON: unreadable after POD2: "
    )
    path.write_text("")
    with pytest.raises(DataError, match=r"found no usable utterance \(truncated or damaged JSON 1\)"):
        gigaspeech.prepare(tmp_path, tmp_path / "data", ["xs"])
    path.unlink()
    with pytest.raises(DataError, match=r"GigaSpeech\.json: no such file, .* get it from https://github"):
        gigaspeech.download(tmp_path, ["xs"])


def test_a_file_is_opened_once_for_its_segments(
    tmp_path: Path, audios: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path, audios, "xs")
    opened = []

    class Counted(audio._SoundFile):
        def __init__(self, path: bytes) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(audio, "_SoundFile", Counted)
    dump_job(data / "xs", tmp_path / "dump", lambda samples_N: samples_N[:, None], {}, 16000, 1, 1, False)
    assert len(opened) == 2
    lengths = read_table(tmp_path / "dump/utt2num_frames.1")
    assert set(lengths.values()) == {"14400"}

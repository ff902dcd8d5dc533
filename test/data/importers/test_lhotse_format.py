"""Lhotse's manifests, written by hand and, where it is installed, by Lhotse."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllm.data.importers import Options, lhotse
from speechllm.errors import DataError

Read = Callable[..., tuple]
RECORDING = {
    "id": "r",
    "sources": [{"type": "file", "channels": [0], "source": "r.wav"}],
    "sampling_rate": 16000,
    "num_samples": 32000,
    "duration": 2.0,
}
FIRST = {"id": "s1", "recording_id": "r", "start": 0.25, "duration": 0.5, "channel": 0, "text": "one", "speaker": "ann"}
SECOND = {"id": "s2", "recording_id": "r", "start": 1.0, "duration": 1.0, "channel": 0, "text": "two"}
CUT = {"id": "c", "start": 0.5, "duration": 1.0, "channel": 0, "type": "MonoCut", "recording": RECORDING}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_recordings_and_supervisions(tmp_path: Path, read: Read, suffix: str) -> None:
    write(tmp_path / f"x_recordings_y.{suffix}", RECORDING)
    supervisions = write(tmp_path / f"x_supervisions_y.{suffix}", FIRST, SECOND)
    for source in (supervisions, tmp_path):
        rows, bad = read("lhotse", source)
        assert bad == {}
        assert [(r.utt_id, r.speaker, r.text, r.start, r.duration) for r in rows] == [
            ("s1", "ann", "one", 0.25, 0.5),
            ("s2", "", "two", 1.0, 1.0),
        ]
        assert {(row.path, row.recording) for row in rows} == {(tmp_path / "r.wav", "r")}


def test_a_supervision_of_a_cut_counts_from_its_start(tmp_path: Path, read: Read) -> None:
    (row,), bad = read("lhotse", write(tmp_path / "cuts.jsonl", CUT | {"supervisions": [FIRST]}))
    assert (row.start, row.duration, row.text, bad) == (0.75, 0.5, "one", {})


def test_cuts_that_cannot_be_used_are_told(tmp_path: Path, read: Read) -> None:
    altered = RECORDING | {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}
    stream = RECORDING | {"sources": [{"type": "url", "channels": [0], "source": "https://x/r.wav"}]}
    cuts = [
        CUT | {"supervisions": []},
        CUT | {"supervisions": [SECOND]},
        CUT | {"supervisions": [FIRST], "recording": altered},
        CUT | {"supervisions": [FIRST], "recording": stream},
        CUT | {"supervisions": [FIRST], "recording": RECORDING | {"sources": RECORDING["sources"] * 2}},
        {"id": "m", "type": "MixedCut", "tracks": []},
        {key: value for key, value in CUT.items() if key != "recording"} | {"supervisions": [FIRST]},
        CUT | {"supervisions": [{key: value for key, value in FIRST.items() if key != "text"}]},
        CUT | {"supervisions": [FIRST | {"start": "late"}]},
    ]
    rows, bad = read("lhotse", write(tmp_path / "cuts.jsonl", *cuts))
    assert rows == []
    assert [reason.partition(":")[0] for reason in bad.values()] == [
        "a cut without supervisions",
        "a supervision that is partly outside its cut",
        "a recording that is altered on reading",
        "audio that is not in a file",
        "a recording that is not in one file",
        "a cut of another kind",
        "a cut of another kind",
        "no text",
        "a wrong start",
    ]
    assert list(bad) == [f"cuts.jsonl:{number}" for number in range(1, 10)]


def test_wrong_lines_and_recordings_that_are_not_listed(tmp_path: Path, read: Read) -> None:
    write(tmp_path / "recordings.jsonl", RECORDING)
    supervisions = write(tmp_path / "supervisions.jsonl", FIRST, SECOND | {"recording_id": "q"})
    for path in (tmp_path / "recordings.jsonl", supervisions):
        path.write_text(path.read_text() + '{"id": \n')
    rows, bad = read("lhotse", supervisions)
    assert [row.utt_id for row in rows] == ["s1"]
    assert {where: reason.partition(":")[0] for where, reason in bad.items()} == {
        "recordings.jsonl:2": "wrong JSON",
        "supervisions.jsonl:2": "no such recording",
        "supervisions.jsonl:3": "wrong JSON",
    }


def test_a_source_must_be_one_manifest(tmp_path: Path) -> None:
    supervisions = write(tmp_path / "a_supervisions.jsonl", FIRST)
    with pytest.raises(DataError, match=r"a_supervisions\.jsonl: the recordings are missing, expected the file a_rec"):
        list(lhotse.read(supervisions, tmp_path, Options()))
    write(tmp_path / "b_supervisions.jsonl", FIRST)
    with pytest.raises(
        DataError, match=r"expected one manifest .*, found a_supervisions\.jsonl, b_supervisions\.jsonl"
    ):
        list(lhotse.read(tmp_path, tmp_path, Options()))


def test_what_lhotse_writes_is_read_as_it_reads_it(tmp_path: Path, record: Callable[..., Path], read: Read) -> None:
    """The start, duration and text of every utterance are those of Lhotse's own trimmed cuts."""
    library = pytest.importorskip("lhotse")
    recordings = [library.Recording.from_file(record(tmp_path / f"r{i}.wav", 3)) for i in range(2)]
    supervisions = [
        library.SupervisionSegment(
            id=f"s{i}", recording_id=f"r{i % 2}", start=0.3 * i, duration=0.7, text=f"number {i}", speaker=f"p{i % 3}"
        )
        for i in range(6)
    ]
    recording_set = library.RecordingSet.from_recordings(recordings)
    supervision_set = library.SupervisionSet.from_segments(supervisions)
    cuts = library.CutSet.from_manifests(recordings=recording_set, supervisions=supervision_set)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    recording_set.to_file(tmp_path / "a/recordings.jsonl.gz")
    supervision_set.to_file(tmp_path / "a/supervisions.jsonl.gz")
    cuts.to_file(tmp_path / "b/cuts.jsonl.gz")
    trimmed = cuts.trim_to_supervisions(keep_overlapping=False)
    trimmed.to_file(tmp_path / "trimmed.jsonl")
    expected = sorted(
        (cut.supervisions[0].id, cut.supervisions[0].speaker, cut.supervisions[0].text, cut.start, cut.duration)
        for cut in trimmed
    )
    for source in (tmp_path / "a", tmp_path / "b", tmp_path / "trimmed.jsonl"):
        rows, bad = read("lhotse", source)
        assert bad == {}
        found = sorted((r.utt_id, r.speaker, r.text, round(r.start, 8), r.duration) for r in rows)
        assert found == expected
        assert {row.path for row in rows} == {tmp_path / "r0.wav", tmp_path / "r1.wav"}

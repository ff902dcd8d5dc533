"""Reading and writing data directories."""

from dataclasses import replace
from pathlib import Path

import pytest

from speechllm.data.kaldi.data_dir import (
    Utterance,
    directory_fingerprint,
    is_made,
    read_data_dir,
    write_data_dir,
    write_table,
)
from speechllm.errors import DataError

WHOLE = [
    Utterance(utt_id="s2-a", speaker="s2", path=Path("/audio/a.wav"), duration=1.5, text="ONE TWO"),
    Utterance(utt_id="s1-b", speaker="s1", path=Path("/audio/my b.flac"), duration=2 / 3, text=""),
]
PARTS = [
    Utterance(
        utt_id=f"s-{i}",
        speaker="s",
        path=Path("call.opus"),
        start=float(i),
        end=end,
        duration=1.0,
        text="HI",
        recording="call",
    )
    for i, end in enumerate([1.0, 2.0, None])
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a directory of two utterances."""
    write_data_dir(tmp_path / "set", WHOLE, fingerprint="hand\n")
    return tmp_path / "set"


def test_utterances_come_back_sorted(data: Path) -> None:
    found = read_data_dir(data)
    assert found.path == data
    assert [utt.utt_id for utt in found.utts] == ["s1-b", "s2-a"]
    assert found.utts[1] == WHOLE[0]
    assert found.utts[0].duration == pytest.approx(2 / 3, abs=1e-7)
    assert found.utts[0].path == Path("/audio/my b.flac")


def test_the_tables_are_kaldis(data: Path) -> None:
    assert sorted(path.name for path in data.iterdir()) == [
        "fingerprint",
        "spk2utt",
        "text",
        "utt2dur",
        "utt2spk",
        "wav.scp",
    ]
    assert (data / "wav.scp").read_text() == "s1-b /audio/my b.flac\ns2-a /audio/a.wav\n"
    assert (data / "text").read_text() == "s1-b\ns2-a ONE TWO\n"
    assert (data / "spk2utt").read_text() == "s1 s1-b\ns2 s2-a\n"
    assert (data / "utt2dur").read_text() == "s1-b 0.6666667\ns2-a 1.5\n"


def test_segments_share_a_recording(tmp_path: Path) -> None:
    write_data_dir(tmp_path / "set", PARTS)
    assert (tmp_path / "set" / "segments").read_text() == "s-0 call 0.0 1.0\ns-1 call 1.0 2.0\ns-2 call 2.0 -1\n"
    assert (tmp_path / "set" / "wav.scp").read_text() == "call call.opus\n"
    assert read_data_dir(tmp_path / "set").utts == PARTS


def test_text_may_be_absent_where_it_is_not_needed(data: Path) -> None:
    (data / "text").unlink()
    assert [utt.text for utt in read_data_dir(data, need_text=False).utts] == [None, None]
    with pytest.raises(DataError, match="text: no such file"):
        read_data_dir(data)


@pytest.mark.parametrize("name", ["wav.scp", "utt2spk", "utt2dur"])
def test_a_missing_table_is_an_error(data: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(DataError, match=f"{name}: no such file"):
        read_data_dir(data)


@pytest.mark.parametrize("name", ["wav.scp", "text", "utt2dur"])
def test_ids_must_agree(data: Path, name: str) -> None:
    write_table(data / name, {"s1-b": "1", "s2-c": "2"})
    with pytest.raises(DataError, match=f"{name}: 2 ids are in only one of {name} and utt2spk, the first 's2-a'"):
        read_data_dir(data)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("utt2dur", "long", "utt2dur: s1-b: found 'long', expected a number of seconds"),
        ("utt2dur", "nan", "found 'nan', expected a number"),
        ("wav.scp", "sph2pipe -f wav a.sph |", "wav.scp: s1-b: found the command 'sph2pipe .*expected a path"),
        ("segments", "rec 1.0", "segments: s1-b: found 'rec 1.0', expected a recording, its start and its end"),
        ("segments", "rec one 2.0", "found 'one', expected a number"),
        ("segments", "elsewhere 1.0 2.0", "found the recording 'elsewhere', which is not in wav.scp"),
    ],
)
def test_a_wrong_value_is_named(data: Path, name: str, value: str, message: str) -> None:
    write_table(data / name, {"s1-b": value, "s2-a": "s2-a 1.0 2.0" if name == "segments" else "1.0"})
    with pytest.raises(DataError, match=message):
        read_data_dir(data)


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set: no such data directory"):
        read_data_dir(tmp_path / "set")


def test_what_is_inconsistent_is_not_written(tmp_path: Path) -> None:
    one, other = WHOLE
    cases = {
        "no utterance is left": [],
        "two utterances 's2-a'": [one, one],
        "1 of 2 utterances have text": [one, Utterance(utt_id="x", speaker="x", path=one.path, duration=1.0)],
        "1 of 2 utterances have segments": [other, PARTS[0]],
        "recording 's2-a' is both": [replace(one, recording="s2-a"), replace(PARTS[0], recording="s2-a")],
    }
    for message, utts in cases.items():
        with pytest.raises(DataError, match=message):
            write_data_dir(tmp_path / "set", utts)
    assert not (tmp_path / "set").exists()


def test_fingerprints(data: Path) -> None:
    assert is_made(data, "hand\n")
    assert not is_made(data, "machine\n")
    (data / "fingerprint").rename(data / "made_by")  # its name in earlier versions
    assert is_made(data, "hand\n")
    write_data_dir(data, WHOLE, fingerprint="machine\n")
    assert is_made(data, "machine\n") and not (data / "made_by").exists()
    before = directory_fingerprint(data)
    write_table(data / "text", {"s1-b": "NEW", "s2-a": "WORDS"})
    assert directory_fingerprint(data) != before

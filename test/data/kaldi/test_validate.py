"""Validation finds all errors, and reports their number and ids."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speechllm.data.kaldi.data_dir import read_data_dir, read_table, write_data_dir, write_table
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError


@pytest.fixture
def data(make_set: Callable[..., Path]) -> Path:
    """Return a valid directory: spk0-000, spk0-002, spk1-001."""
    return make_set(1.0, 2.0, 0.5)


@pytest.fixture
def cut(data: Path) -> Path:
    """Return a valid directory whose utterances are segments."""
    utts = read_data_dir(data).utts
    write_data_dir(data, [replace(utt, recording=f"rec-{utt.utt_id}", end=utt.duration) for utt in utts])
    return data


def edit(path: Path, **changes: str | None) -> None:
    """Set values of a table; None removes an id. An underscore in a key becomes a hyphen."""
    table = read_table(path, allow_empty=True) | {key.replace("_", "-"): value for key, value in changes.items()}
    write_table(path, {key: value for key, value in table.items() if value is not None})


def complaint(path: Path, **options: bool) -> str:
    with pytest.raises(DataError) as error:
        validate_data_dir(path, **options)
    return str(error.value)


def test_a_valid_directory_is_summed_up(data: Path) -> None:
    summary = validate_data_dir(data, open_audio=True)
    assert (summary.num_utts, summary.num_speakers, summary.num_long) == (3, 2, 0)
    assert summary.hours == pytest.approx(3.5 / 3600)
    assert str(summary) == "3 utterances, 2 speakers, 0.00 hours"


def test_valid_segments(cut: Path) -> None:
    assert validate_data_dir(cut).num_utts == 3


def test_long_utterances_are_reported_and_valid(make_set: Callable[..., Path]) -> None:
    summary = validate_data_dir(make_set(31.0, 1.0))
    assert summary.num_long == 1
    assert str(summary).endswith(", 1 utterances over 30 s")


def test_text_may_be_absent_where_it_is_not_needed(data: Path) -> None:
    (data / "text").unlink()
    assert "missing tables (1): text" in complaint(data)
    validate_data_dir(data, need_text=False)


def test_a_missing_directory(tmp_path: Path) -> None:
    assert "gone: no such data directory" in complaint(tmp_path / "gone")


@pytest.mark.parametrize("name", ["wav.scp", "text", "utt2spk", "spk2utt", "utt2dur"])
def test_a_missing_and_an_empty_table(data: Path, name: str) -> None:
    (data / name).write_text("")
    assert f"empty tables (1): {name}" in complaint(data)
    (data / name).unlink()
    assert f"missing tables (1): {name}" in complaint(data)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("spk1-001 A\nspk0-000 B\nspk0-002 C\n", "text: not sorted (LC_ALL=C) (1): spk0-000 (line 2)"),
        ("spk0-000 A\nspk0-000 A\nspk0-002 B\nspk1-001 C\n", "text: a duplicate id (1): spk0-000 (line 2)"),
        ("spk0-000 A\nspk0-002\nspk1-001 C\n", "empty transcripts (1): spk0-002"),
        ("spk0-000 A\nspk0-002 B\n", "without a transcript (not in text, but in another table) (1): spk1-001"),
        (
            "spk0-000 A\nspk0-002 B\nspk1-001 C\nspk2-0 D\n",
            "without audio (not in wav.scp, but in another table) (1): spk2-0",
        ),
    ],
)
def test_flaws_of_the_transcripts(data: Path, content: str, problem: str) -> None:
    (data / "text").write_text(content)
    assert problem in complaint(data)


def test_transcripts_may_be_empty_where_nothing_at_all_is_said(data: Path) -> None:
    (data / "text").write_text("spk0-000\nspk0-002\nspk1-001\n")
    assert (summary := validate_data_dir(data)).num_utts == 3
    assert str(summary).endswith(", non-speech (all transcripts are empty)")
    (data / "text").write_text("spk0-000\nspk0-002\n")
    assert "without a transcript" in complaint(data)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0.0", "utt2dur: not positive (1): spk0-000 (0.0 s)"),
        ("-1", "utt2dur: not positive (1): spk0-000 (-1.0 s)"),
        ("16000", "utt2dur: over 3600 s (1): spk0-000 (16000.0 s)"),
        ("inf", "utt2dur: not a number (1): spk0-000 (inf)"),
    ],
)
def test_durations(data: Path, value: str, problem: str) -> None:
    edit(data / "utt2dur", spk0_000=value)
    assert problem in complaint(data)


def test_speakers(data: Path) -> None:
    edit(data / "utt2spk", spk0_000="anna")
    message = complaint(data)
    assert "ids that do not begin with the speaker's (1): spk0-000 (anna)" in message
    assert "spk2utt is not the inverse of utt2spk for the speakers (2): anna, spk0" in message


def test_utterances_must_be_grouped_by_speaker(data: Path) -> None:
    utt = read_data_dir(data).utts[0]
    ids = {"a-1": "a", "a1": "a1", "aa": "a"}
    write_data_dir(data, [replace(utt, utt_id=utt_id, speaker=speaker) for utt_id, speaker in ids.items()])
    assert "utterances are not grouped by speaker when sorted (1): aa" in complaint(data)


def test_missing_audio_and_pipes(data: Path) -> None:
    edit(data / "wav.scp", spk0_000="/gone.wav", spk1_001="sox a.wav -t wav - |")
    message = complaint(data)
    assert "missing audio files (1): spk0-000 (/gone.wav)" in message
    assert "wav.scp: a command instead of a path (1): spk1-001" in message


def test_audio_is_opened_only_where_asked(data: Path) -> None:
    edit(data / "utt2dur", spk0_000="1.5")
    wav = read_data_dir(data).utts[1].path
    wav.write_bytes(wav.read_bytes()[:-100])
    validate_data_dir(data)
    message = complaint(data, open_audio=True)
    assert "utt2dur: not the duration of the audio (1): spk0-000 (1.5 s, expected 1.000 s)" in message
    assert f"unusable audio files (1): {wav}: truncated" in message


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("rec-spk0-000 0.0 1.1", "segments: beyond the end of the audio (1): spk0-000"),
        ("rec-spk0-000 1.0 0.5", "segments: empty or negative (1): spk0-000"),
        ("rec-spk0-000 0.5 1.0", "utt2dur: not the duration of the segment (1): spk0-000 (1.0 s, expected 0.500 s)"),
        ("rec-spk0-000 0.5", "segments: not a recording, start and end (1): spk0-000"),
        ("elsewhere 0.0 1.0", "segments: of a recording that is not in wav.scp (1): spk0-000 (elsewhere)"),
    ],
)
def test_segments(cut: Path, value: str, problem: str) -> None:
    edit(cut / "segments", spk0_000=value)
    assert problem in complaint(cut)


def test_a_segment_to_the_end_of_the_file(cut: Path) -> None:
    edit(cut / "segments", spk0_000="rec-spk0-000 0.0 -1")
    validate_data_dir(cut)


def test_every_kind_is_listed_with_its_count_and_first_ids(make_set: Callable[..., Path]) -> None:
    data = make_set(*[0.1] * 9, speakers=1)
    write_table(data / "text", {f"spk0-{i:03d}": "" if i < 8 else "A" for i in range(9)})
    write_table(data / "utt2dur", {f"spk0-{i:03d}": "0" if i < 8 else "0.1" for i in range(9)})
    message = complaint(data)
    assert "empty transcripts (8): spk0-000, spk0-001, spk0-002, spk0-003, spk0-004, ...\n" in message
    assert "utt2dur: not positive (8): spk0-000 (0.0 s)," in message


def test_ids_that_cannot_be_names_of_files_are_counted_and_legal(data: Path) -> None:
    for name in ("wav.scp", "text", "utt2spk", "utt2dur", "spk2utt"):
        text = (data / name).read_text()
        (data / name).write_text(re.sub(r"(^|spk0 )spk0-000 ", r"\1spk0-/../0 ", text, flags=re.MULTILINE))
    summary = validate_data_dir(data)
    assert summary.num_unnamable == 1
    assert "1 ids that are not valid file names" in str(summary)
    assert read_data_dir(data).utts


@pytest.mark.parametrize("duration", ["0", "-1.0", "nan", "inf"])
def test_a_duration_is_a_positive_number(data: Path, duration: str) -> None:
    edit(data / "utt2dur", spk0_000=duration)
    assert "utt2dur: not" in complaint(data)
    with pytest.raises(DataError, match=rf"utt2dur: spk0-000: found '{duration}'"):
        read_data_dir(data)


def test_a_segment_ends_behind_its_start(cut: Path) -> None:
    for segment in ("0.5 0.5", "0.5 0.2", "-0.5 0.5", "nan 0.5", "0 inf"):
        edit(cut / "segments", spk0_000=f"rec-spk0-000 {segment}")
        with pytest.raises(DataError, match="segments: spk0-000: found"):
            read_data_dir(cut)


def test_an_empty_directory_is_an_error(data: Path) -> None:
    for name in ("wav.scp", "text", "utt2spk", "utt2dur", "spk2utt"):
        (data / name).write_text("")
    assert "empty tables (5)" in complaint(data)
    with pytest.raises(DataError, match="no utterances, expected at least one"):
        read_data_dir(data)


def test_a_byte_order_mark_is_ignored(data: Path) -> None:
    for name in ("wav.scp", "text", "utt2spk", "utt2dur", "spk2utt"):
        (data / name).write_bytes(b"\xef\xbb\xbf" + (data / name).read_bytes())
    assert validate_data_dir(data).num_utts == 3
    assert read_data_dir(data).utts[0].utt_id == "spk0-000"

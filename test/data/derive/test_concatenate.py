"""Static concatenation: neighbours of one chapter, up to a length, with nothing lost."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.derive.concatenate import concatenate_data_dir, joined_samples, neighbours
from speechllm.data.kaldi.data_dir import Utterance, read_data_dir, write_data_dir
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError


def utterance(utt_id: str, duration: float) -> Utterance:
    return Utterance(utt_id=utt_id, speaker=utt_id.split("-")[0], path=Path(utt_id), duration=duration, text=utt_id)


def test_only_neighbours_of_one_chapter_are_joined_up_to_the_duration() -> None:
    utts = [utterance(f"{chapter}-{i:04d}", 10.0) for chapter in ("1-10", "1-11", "2-10") for i in range(5)]
    groups = neighbours(utts, 35.0, 0.1)
    assert [[utt.utt_id for utt in group] for group in groups] == [
        [f"{chapter}-{i:04d}" for i in part] for chapter in ("1-10", "1-11", "2-10") for part in ((0, 1, 2), (3, 4))
    ]


def test_what_is_longer_than_the_duration_stays_whole() -> None:
    groups = neighbours([utterance("1-1-0", 5.0), utterance("1-1-1", 50.0), utterance("1-1-2", 5.0)], 30.0, 0.1)
    assert [len(group) for group in groups] == [1, 1, 1]


def test_each_part_begins_on_a_hop_boundary() -> None:
    parts = [np.full(length, i + 1.0) for i, length in enumerate((1234, 777, 160))]
    samples_N = joined_samples(parts, 0.1)
    starts = [int(np.flatnonzero(samples_N == i)[0]) for i in (1, 2, 3)]
    assert [start % 160 for start in starts] == [0, 0, 0]
    assert all(start - end in range(1600, 1760) for start, end in zip(starts[1:], (1234, starts[1] + 777), strict=True))
    assert (samples_N > 0).sum() == 1234 + 777 + 160
    np.testing.assert_array_equal(joined_samples(parts[:1], 0.1), parts[0])


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Return a data directory of two chapters with five utterances of 2 s."""
    utts = []
    for k in range(10):
        utt_id = f"7-{k // 5}-{k % 5:04d}"
        path = tmp_path / f"{utt_id}.wav"
        soundfile.write(path, np.full(32_000, (k + 1) / 16), 16_000)
        utts.append(Utterance(utt_id=utt_id, speaker="7", path=path, duration=2.0, text=f"WORD {k}"))
    write_data_dir(tmp_path / "book", utts)
    return tmp_path / "book"


def test_a_joined_set_is_a_data_directory_like_any_other(book: Path) -> None:
    target = book.parent / "book_t7"
    assert concatenate_data_dir(book, target, 7.0)
    validate_data_dir(target)
    utts = {utt.utt_id: utt for utt in read_data_dir(target).utts}
    assert list(utts) == ["7-0-0000+2", "7-0-0003+1", "7-1-0000+2", "7-1-0003+1"]
    assert utts["7-0-0000+2"].text == "WORD 0 WORD 1 WORD 2"
    samples_N, rate = soundfile.read(utts["7-0-0003+1"].path)
    assert rate == 16_000
    assert utts["7-0-0003+1"].duration == len(samples_N) / rate == 4.1
    np.testing.assert_allclose(samples_N[-32_000:], 5 / 16, atol=1e-4)
    assert not concatenate_data_dir(book, target, 7.0)
    assert concatenate_data_dir(book, target, 5.0)
    assert len(read_data_dir(target).utts) == 6


def test_beyond_full_scale_nothing_is_clipped(book: Path) -> None:
    samples, _ = soundfile.read(book.parent / "7-0-0001.wav")
    soundfile.write(book.parent / "7-0-0001.wav", samples * 12, 16_000, subtype="FLOAT")
    assert concatenate_data_dir(book, f"{book.parent}/joined/", 7.0)
    utts = {utt.utt_id: utt for utt in read_data_dir(book.parent / "joined").utts}
    assert utts["7-0-0000+2"].path == book.parent / "joined_audio/7-0-0000+2.wav"
    assert soundfile.read(utts["7-0-0000+2"].path)[0].max() == pytest.approx(12 * 2 / 16)
    assert utts["7-1-0000+2"].path.suffix == ".flac"


def test_impossible_lengths_are_refused(book: Path) -> None:
    with pytest.raises(DataError, match="concatenate: found 0 s"):
        concatenate_data_dir(book, book.parent / "x", 0)

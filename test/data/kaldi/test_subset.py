"""Parts, unions and held-out speakers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from speechllm.data.kaldi.data_dir import Utterance, read_data_dir, read_language, write_data_dir, write_language
from speechllm.data.kaldi.subset import (
    combine_data_dirs,
    hold_out_speakers,
    hold_out_transcripts,
    subset_data_dir,
)
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError


@pytest.fixture
def data(make_set: Callable[..., Path]) -> Path:
    """Return a directory of 12 utterances of 0.1 to 1.2 s by 4 speakers in turn."""
    return make_set(*[(i + 1) / 10 for i in range(12)], speakers=4)


def ids(path: Path) -> list[str]:
    validate_data_dir(path)
    return [utt.utt_id for utt in read_data_dir(path).utts]


def test_first(data: Path, tmp_path: Path) -> None:
    subset_data_dir(data, tmp_path / "part", first=4)
    assert ids(tmp_path / "part") == ["spk0-000", "spk0-004", "spk0-008", "spk1-001"]


def test_random_depends_on_the_seed_only(data: Path, tmp_path: Path) -> None:
    draws = {}
    for number, seed in ((3, 0), (5, 0), (5, 1)):
        target = tmp_path / f"{number}-{seed}"
        subset_data_dir(data, target, random=number, seed=seed)
        draws[number, seed] = ids(target)
        assert len(draws[number, seed]) == number
    assert set(draws[3, 0]) < set(draws[5, 0])
    assert draws[5, 0] != draws[5, 1]


def test_conditions_add_up(data: Path, tmp_path: Path) -> None:
    subset_data_dir(data, tmp_path / "a", utts={"spk2-006", "spk0-000"})
    assert ids(tmp_path / "a") == ["spk0-000", "spk2-006"]
    subset_data_dir(data, tmp_path / "b", speakers={"spk1", "spk3"}, max_duration=0.6)
    assert ids(tmp_path / "b") == ["spk1-001", "spk1-005", "spk3-003"]
    subset_data_dir(data, tmp_path / "c", speakers={"spk1", "spk3"}, max_duration=0.6, first=1)
    assert ids(tmp_path / "c") == ["spk1-001"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utts": {"spk0-000", "gone"}}, "1 of the requested utterances are missing, the first 'gone'"),
        ({"speakers": {"gone"}}, "1 of the requested speakers are missing, the first 'gone'"),
        ({"first": 13}, "found 12 utterances to choose from, expected at least 13"),
        ({"random": 0}, "found 12 utterances"),
        ({"max_duration": 0.5, "random": 6}, "found 5 utterances"),
        ({"max_duration": 0.01}, "no utterance is left"),
    ],
)
def test_what_cannot_be_had(data: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        subset_data_dir(data, tmp_path / "part", **options)
    assert not (tmp_path / "part").exists()


def test_done_once_and_again_when_the_source_or_the_wish_changes(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "part"
    assert subset_data_dir(data, target, first=4)
    assert not subset_data_dir(data, target, first=4)
    assert subset_data_dir(data, target, first=3)
    write_data_dir(data, [replace(utt, text="NEW") for utt in read_data_dir(data).utts])
    assert subset_data_dir(data, target, first=3)
    assert {utt.text for utt in read_data_dir(target).utts} == {"NEW"}


def test_combine(make_set: Callable[..., Path], data: Path, tmp_path: Path) -> None:
    other = make_set(0.3, 0.3, name="other")
    write_data_dir(
        other, [replace(utt, utt_id=f"new-{utt.utt_id}", speaker="new") for utt in read_data_dir(other).utts]
    )
    assert combine_data_dirs([data, other], tmp_path / "all")
    assert ids(tmp_path / "all") == ["new-spk0-000", "new-spk1-001", *ids(data)]
    assert not combine_data_dirs([data, other], tmp_path / "all")


def test_combining_an_utterance_twice_is_an_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{data}: 12 utterances are also in another directory, the first spk0-000"):
        combine_data_dirs([data, data], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_held_out_speakers_are_in_one_of_the_two(data: Path, tmp_path: Path) -> None:
    held_out = hold_out_speakers(data, tmp_path / "train", tmp_path / "valid", 2)
    train, valid = read_data_dir(tmp_path / "train").utts, read_data_dir(tmp_path / "valid").utts
    assert {utt.speaker for utt in valid} == set(held_out)
    assert len(held_out) == 2
    assert not {utt.speaker for utt in train} & set(held_out)
    assert sorted(utt.utt_id for utt in train + valid) == ids(data)
    assert hold_out_speakers(data, tmp_path / "train", tmp_path / "valid", 2) == held_out
    draws = {tuple(hold_out_speakers(data, tmp_path / "t", tmp_path / "v", 2, seed)) for seed in range(8)}
    assert len(draws) > 1


@pytest.mark.parametrize("number", [0, 4, -1])
def test_some_speakers_must_be_held_out_and_some_left(data: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(DataError, match=f"found 4 speakers and {number} to hold out"):
        hold_out_speakers(data, tmp_path / "train", tmp_path / "valid", number)
    assert not (tmp_path / "train").exists()


def test_held_out_utterances_have_transcripts_of_their_own(make_set: Callable[..., Path], tmp_path: Path) -> None:
    data = make_set(*[0.1] * 12, speakers=1)
    texts = ["ONE", "TWO", "One", "THREE", "FOUR", "TWO", "FIVE", "SIX", "SEVEN", "ONE", "EIGHT", "FOUR"]
    utts = read_data_dir(data).utts
    write_data_dir(data, [replace(utt, text=text) for utt, text in zip(utts, texts, strict=True)])
    draws = set()
    for seed in range(8):
        train, valid = tmp_path / f"train{seed}", tmp_path / f"valid{seed}"
        hold_out_transcripts(data, train, valid, 4, seed)
        left, held_out = ({utt.utt_id: utt.text for utt in read_data_dir(part).utts} for part in (train, valid))
        assert len(held_out) == 4
        assert sorted(left | held_out) == ids(data)
        assert not {text.casefold() for text in left.values()} & {text.casefold() for text in held_out.values()}
        draws.add(tuple(held_out))
    assert len(draws) > 1


@pytest.mark.parametrize("number", [0, 12, -1])
def test_some_utterances_must_be_held_out_and_some_left(
    make_set: Callable[..., Path], tmp_path: Path, number: int
) -> None:
    data = make_set(*[0.1] * 12, speakers=1)
    with pytest.raises(DataError, match=f"of 12 utterances and {number} to hold out"):
        hold_out_transcripts(data, tmp_path / "train", tmp_path / "valid", number)
    assert not (tmp_path / "train").exists()


def test_the_language_is_that_of_the_sources(tmp_path: Path) -> None:
    for name, language in (("a", "de"), ("b", "de"), ("c", "fr")):
        utts = [
            Utterance(utt_id=f"{name}{i}", speaker=f"{name}{i}", path=tmp_path / "x.wav", duration=1.0) for i in (1, 2)
        ]
        write_data_dir(tmp_path / name, utts)
        write_language(tmp_path / name, language)
    subset_data_dir(tmp_path / "a", tmp_path / "part", first=1)
    combine_data_dirs([tmp_path / "a", tmp_path / "b"], tmp_path / "same")
    combine_data_dirs([tmp_path / "a", tmp_path / "c"], tmp_path / "mixed")
    hold_out_speakers(tmp_path / "c", tmp_path / "train", tmp_path / "valid", 1)
    found = {name: read_language(tmp_path / name) for name in ("part", "same", "mixed", "train", "valid")}
    assert found == {"part": "de", "same": "de", "mixed": None, "train": "fr", "valid": "fr"}

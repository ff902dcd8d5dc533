"""Reading of dumps, and selection for training."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from toy_data import make_dump

from speechllm.data.config import DataConfig
from speechllm.data.dataset import change_case, combine_datasets, select_for_training
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import read_table, write_table
from speechllm.errors import DataError


def test_an_example_has_all_that_the_dump_knows(tmp_path: Path) -> None:
    dataset = DumpDataset(make_dump(tmp_path, 0.5, 1.0), "sentence")
    example = dataset["spk1-001"]
    assert (example.utt_id, example.text, example.duration) == ("spk1-001", "Hello world", 1.0)
    assert example.inputs_TF.shape == (100, 4)
    assert dataset.num_frames == {"spk0-000": 50, "spk1-001": 100}
    assert dataset.durations == {"spk0-000": 0.5, "spk1-001": 1.0}


def test_decoding_needs_no_text_but_training_does(tmp_path: Path) -> None:
    dataset = DumpDataset(make_dump(tmp_path, 0.5, text=None))
    assert dataset.texts is None
    assert dataset["spk0-000"].text == ""
    with pytest.raises(DataError, match="found no file text, expected transcripts for training"):
        select_for_training(dataset, DataConfig())


@pytest.mark.parametrize(
    ("text", "lower", "sentence"),
    [
        ("HELLO MISTER O'NEILL", "hello mister o'neill", "Hello mister o'neill"),
        ("'TIS LATE", "'tis late", "'Tis late"),
        ("É TARDE", "é tarde", "É tarde"),
        ("3 DOGS", "3 dogs", "3 dogs"),
        ("", "", ""),
    ],
)
def test_case(text: str, lower: str, sentence: str) -> None:
    assert change_case(text, "as_is") == text
    assert change_case(text, "lower") == lower
    assert change_case(text, "sentence") == sentence


def test_what_is_skipped_is_counted_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump_dir = make_dump(tmp_path, 0.05, 0.5, 0.7, 1.5, 2.0)
    write_table(dump_dir / "text", read_table(dump_dir / "text") | {"spk0-002": ""})
    config = DataConfig(min_duration=0.1, max_duration=1.0)
    kept_N, skipped = select_for_training(DumpDataset(dump_dir), config, tmp_path / "exp/skipped")
    assert kept_N.tolist() == [3]  # spk0-000, spk0-002, spk0-004, spk1-001, spk1-003
    assert skipped == read_table(tmp_path / "exp/skipped")
    assert skipped == {
        "spk0-000": "shorter than 0.1 s",
        "spk0-002": "empty transcript",
        "spk0-004": "longer than 1.0 s",
        "spk1-003": "longer than 1.0 s",
    }
    said = capsys.readouterr().out
    assert "4 of 5 utterances skipped (" in said
    for reason in ("1 shorter than 0.1 s", "1 empty transcript", "2 longer than 1.0 s"):
        assert reason in said
    with pytest.raises(DataError, match=r"no utterance is left to train on: 5 of 5 utterances skipped \(5 shorter"):
        select_for_training(DumpDataset(dump_dir), DataConfig(min_duration=2.5))
    assert capsys.readouterr().out == ""


def test_a_set_without_any_words_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("spoken", "silent"):
        (tmp_path / name).mkdir()
    spoken = make_dump(tmp_path / "spoken", 0.5, 0.7)
    silent = make_dump(tmp_path / "silent", 0.5, 0.7, 0.9)
    write_table(spoken / "text", read_table(spoken / "text") | {"spk0-000": ""})
    write_table(silent / "text", dict.fromkeys(read_table(silent / "text"), ""))
    for path in silent.iterdir():
        path.write_bytes(path.read_bytes().replace(b"spk", b"hum"))
    dataset = combine_datasets([DumpDataset(spoken), DumpDataset(silent)])
    kept_N, skipped = select_for_training(dataset, DataConfig(), tmp_path / "skipped")
    assert dataset.utt_ids.take(kept_N) == ["hum0-000", "hum0-002", "hum1-001", "spk1-001"]
    assert skipped == {"spk0-000": "empty transcript"}
    assert "1 of 5 utterances skipped" in (said := capsys.readouterr().out)
    assert said.endswith("; 3 of the others are non-speech\n")
    with pytest.raises(DataError, match="all transcripts are empty, expected some with words"):
        select_for_training(DumpDataset(silent), DataConfig())


def test_nothing_skipped_is_said_and_empties_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "skipped", {"of": "an earlier run"})
    select_for_training(DumpDataset(make_dump(tmp_path, 0.5, 0.7)), DataConfig(), tmp_path / "skipped")
    assert "0 of 2 utterances skipped; listed in" in capsys.readouterr().out
    assert read_table(tmp_path / "skipped") == {}


def test_an_unfinished_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no finished dump \(feats.scp is missing\); run stage 2"):
        DumpDataset(tmp_path)


@pytest.mark.parametrize("name", ["text", "utt2dur", "utt2num_frames"])
def test_tables_that_disagree_are_refused(tmp_path: Path, name: str) -> None:
    dump_dir = make_dump(tmp_path, 0.5, 1.0)
    write_table(dump_dir / name, {"spk0-000": "1"})
    with pytest.raises(DataError, match=f"1 utterances are in only one of {name} and feats.scp.*spk1-001"):
        DumpDataset(dump_dir)


@pytest.mark.parametrize(("encoded", "compress"), [(False, False), (False, True), (True, False)])
def test_a_truncated_ark_is_an_error_that_names_the_utterance(tmp_path: Path, encoded: bool, compress: bool) -> None:
    dump_dir = make_dump(tmp_path, 0.5, 1.0, encoded=encoded, compress=compress)
    ark = dump_dir / "feats.1.ark"
    place = int(read_table(dump_dir / "feats.scp")["spk1-001"].rpartition(":")[2])
    for size in (ark.stat().st_size - 3, place + 9, place + 4, place + 1, 0):
        ark.write_bytes(ark.read_bytes()[:size])
        with pytest.raises(DataError, match=r"spk1-001: cannot read .*delete the dump and run stage 2"):
            DumpDataset(dump_dir)["spk1-001"]


def test_wrong_places_are_errors(tmp_path: Path) -> None:
    dump_dir = make_dump(tmp_path, 0.5, 1.0)
    places = read_table(dump_dir / "feats.scp")
    write_table(dump_dir / "feats.scp", {"spk0-000": places["spk1-001"], "spk1-001": places["spk1-001"] + "1"})
    dataset = DumpDataset(dump_dir)
    with pytest.raises(DataError, match="spk0-000: found 100 frames, expected 50"):
        dataset["spk0-000"]
    with pytest.raises(DataError, match=r"spk1-001: cannot read .*neither a Kaldi matrix nor a numpy array"):
        dataset["spk1-001"]
    (dump_dir / "feats.1.ark").unlink()
    with pytest.raises(DataError, match=r"no file .*feats.1.ark; change to the directory where"):
        dataset["spk0-000"]


def test_a_pickle_in_an_ark_is_not_opened(tmp_path: Path) -> None:
    dump_dir = make_dump(tmp_path, 0.5)
    (dump_dir / "feats.1.ark").write_bytes(b"spk0-000 PKL" + pickle.dumps([1, 2, 3]))
    with pytest.raises(DataError, match="neither a Kaldi matrix nor a numpy array"):
        DumpDataset(dump_dir)["spk0-000"]


def test_sets_are_combined_if_no_utterance_is_in_two(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first, other = (make_dump(tmp_path / name, 0.2, 0.5, text=name, encoded=True) for name in "ab")
    with pytest.raises(DataError, match=r"b\S*: 2 utterances are in another set, too, the first spk0-000"):
        combine_datasets([DumpDataset(first), DumpDataset(other)])
    for path in other.iterdir():
        path.write_bytes(path.read_bytes().replace(b"spk1", b"spk2").replace(b"spk0", b"new0"))
    sets = [DumpDataset(first), DumpDataset(other)]
    combined = combine_datasets(sets)
    assert combined.utt_ids == ["new0-000", "spk0-000", "spk1-001", "spk2-001"]
    assert [combined.set_of(row) for row in range(4)] == [1, 0, 0, 1]
    for one in sets:
        for utt in one.utt_ids:
            found, expected = combined[utt], one[utt]
            assert np.array_equal(found.inputs_TF, expected.inputs_TF)
            assert (found.text, found.duration) == (expected.text, expected.duration)
            assert combined.num_frames[utt] == one.num_frames[utt]
    assert combine_datasets(sets[:1]) is sets[0]

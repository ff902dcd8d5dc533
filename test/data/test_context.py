"""Contexts: written, validated, fixed, selected, combined, dumped, and drawn in training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_data import energies, make_data_dir

from speechllm.bin import main
from speechllm.data.batch import Collate, Loader
from speechllm.data.config import DataConfig, HotWordOptions
from speechllm.data.context import HotWords
from speechllm.data.dataset import combine_datasets
from speechllm.data.derive.concatenate import concatenate_data_dir
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import directory_fingerprint, read_data_dir, write_data_dir
from speechllm.data.kaldi.fix import fix_data_dir
from speechllm.data.kaldi.subset import combine_data_dirs, subset_data_dir
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.data.sampler import BucketSampler
from speechllm.errors import DataError

CONTEXTS = ["Ann, Bob", "", "Cleo"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with contexts, one of them empty."""
    (tmp_path / "made").mkdir()
    found = read_data_dir(make_data_dir(tmp_path / "made", 0.5, 0.6, 0.7))
    utts = sorted(found.utts, key=lambda utt: utt.duration)
    with_contexts = [replace(utt, context=context) for utt, context in zip(utts, CONTEXTS, strict=True)]
    write_data_dir(tmp_path / "data", with_contexts, fingerprint="test\n")
    return tmp_path / "data"


def test_a_directory_keeps_its_contexts(data: Path, tmp_path: Path) -> None:
    assert (data / "context").read_text() == "spk0-000 Ann, Bob\nspk0-002 Cleo\nspk1-001\n"
    assert validate_data_dir(data).num_utts == 3
    subset_data_dir(data, tmp_path / "some", speakers={"spk0"})
    assert [utt.context for utt in read_data_dir(tmp_path / "some").utts] == ["Ann, Bob", "Cleo"]
    without = [replace(utt, context="") for utt in read_data_dir(data).utts if utt.speaker == "spk1"]
    write_data_dir(tmp_path / "plain", without)
    assert not (tmp_path / "plain/context").exists()
    combine_data_dirs([tmp_path / "some", tmp_path / "plain"], tmp_path / "all")
    assert (tmp_path / "all/context").read_text() == (data / "context").read_text()
    concatenate_data_dir(tmp_path / "some", tmp_path / "long", 9.0)
    assert [utt.context for utt in read_data_dir(tmp_path / "long").utts] == ["Ann, Bob, Cleo"]


def test_missing_contexts_are_found_and_fixed(data: Path) -> None:
    before = directory_fingerprint(data)
    (data / "context").write_text("spk0-000 Ann, Bob\n")
    assert directory_fingerprint(data) != before
    with pytest.raises(DataError, match=r"without a context, which may be empty .*\(2\)"):
        validate_data_dir(data)
    with pytest.raises(DataError, match="context: 2 ids are in only one of context and utt2spk"):
        read_data_dir(data)
    fix_data_dir(data)
    assert [utt.context for utt in read_data_dir(data).utts] == ["Ann, Bob", "", ""]


def test_a_dump_has_contexts_in_the_case_of_the_transcripts(data: Path, tmp_path: Path) -> None:
    dump_job(data, tmp_path / "dump", energies, {"type": "toy"}, 16000, 1, 1, True)
    merge_dump(data, tmp_path / "dump", 1)
    dataset = DumpDataset(tmp_path / "dump", "lower")
    batch = Collate(encoded=False)([dataset[utt_id] for utt_id in dataset.utt_ids])
    assert batch.contexts == ["ann, bob", "cleo", ""]
    assert DumpDataset(tmp_path / "dump").contexts == {"spk0-000": "Ann, Bob", "spk0-002": "Cleo"}
    assert combine_datasets([dataset]).contexts == dataset.contexts
    (data / "context").unlink()
    merge_dump(data, tmp_path / "dump", 1)
    assert DumpDataset(tmp_path / "dump").contexts == {}


TEXTS = [f"the dog saw name{k} and the cat" for k in range(40)]
OPTIONS = HotWordOptions(common=5, distractors=10, drop=0.4)


def test_hot_words_are_rare_words_and_distractors() -> None:
    hot_words = HotWords(TEXTS, OPTIONS, seed=1)
    assert hot_words.rare == sorted(f"name{k}" for k in range(40))
    drawn = [hot_words.draw(f"utt{k}", text, 3) for k, text in enumerate(TEXTS * 5)]
    lists = [one.split(", ") for one in drawn if one]
    assert 0.3 < drawn.count("") / len(drawn) < 0.5
    assert all(f"name{k % 40}" in one.split(", ") for k, one in enumerate(drawn) if one)
    assert {len(one) for one in lists} == set(range(1, 12)) and all(len(set(one)) == len(one) for one in lists)
    assert len({one.index("name7") for one in lists if "name7" in one}) > 1, "the true word has no place of its own"
    again = HotWords(TEXTS, OPTIONS, seed=1)
    assert [again.draw(f"utt{k}", text, 3) for k, text in enumerate(TEXTS * 5)] == drawn
    assert [hot_words.draw(f"utt{k}", text, 4) for k, text in enumerate(TEXTS * 5)] != drawn
    assert HotWords(TEXTS, OPTIONS, seed=2).draw("utt1", TEXTS[1], 3) != drawn[1] or drawn[1] == ""


def test_transcripts_without_rare_words() -> None:
    with pytest.raises(DataError, match="found only 45 words .* more than the 5000"):
        HotWords(TEXTS, HotWordOptions(), seed=1)


def test_a_resumed_loader_draws_the_same(data: Path, tmp_path: Path) -> None:
    dump_job(data, tmp_path / "dump", energies, {"type": "toy"}, 16000, 1, 1, True)
    merge_dump(data, tmp_path / "dump", 1)
    dataset, config = DumpDataset(tmp_path / "dump", "lower"), DataConfig(batch_size=1)
    draw = HotWords(TEXTS, OPTIONS, seed=1).draw

    def contexts(epoch: int, position: int, workers: int = 0) -> dict[str, str]:
        sampler = BucketSampler(dataset.durations, config, seed=1)
        sampler.set_epoch(epoch)
        sampler.position = position
        loader = Loader(dataset, sampler, Collate(encoded=False), workers, draw)
        return {utt_id: one for batch in loader for utt_id, one in zip(batch.utt_ids, batch.contexts, strict=True)}

    whole = contexts(2, 0)
    assert len(whole) == 3 and contexts(2, 0, workers=1) == whole
    rest = contexts(2, 1)
    assert len(rest) == 2 and rest.items() <= whole.items()
    assert any(contexts(epoch, 0) != whole for epoch in (3, 4))


def test_biasing_lists_are_made_once(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "text").write_text("spk0-000 THE CAT\nspk0-002 THE DOG NAME3\nspk1-001 NEW THE\n")
    train = tmp_path / "made/train"
    (tmp_path / "made/second").mkdir()
    made = make_data_dir(tmp_path / "made/second", *np.full(40, 0.1), texts=[text.upper() for text in TEXTS])
    made.rename(train)
    command = ["make_biasing_lists", str(data), str(tmp_path / "biased"), "--train", str(train), "--common", "5"]
    assert main([*command, "--distractors", "4"]) == 0
    lists = [set(utt.context.split(", ")) for utt in read_data_dir(tmp_path / "biased").utts]
    assert [len(one) for one in lists] == [4, 5, 5] and "NAME3" in lists[1] and "NEW" in lists[2]
    assert all(word.startswith("NAME") or word == "NEW" for one in lists for word in one)
    stamp = (tmp_path / "biased/context").stat().st_mtime_ns
    assert main([*command, "--distractors", "4"]) == 0
    assert (tmp_path / "biased/context").stat().st_mtime_ns == stamp

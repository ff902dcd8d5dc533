"""Tokens have equal weights in every batch, accumulation step and rank."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy_data import make_data_dir
from toy_experiment import Toy

from speechllm import experiment
from speechllm.data.dump import merge_dump
from speechllm.inference.dump import dump
from speechllm.train.metrics import read_metrics

STEPS = ("connector.dropout=0.0", "train.max_steps=5", "train.valid_every=5", "train.decode_utterances=0")


@pytest.fixture(scope="module")
def unequal(toy: Toy) -> Toy:
    """Return the toy with two utterances to train on, of 1 word and of 30."""
    folder = toy.folder / "unequal"
    folder.mkdir()
    data_dir = make_data_dir(folder, 0.7, 0.8, texts=["HELLO", " ".join(["WORLD"] * 30)])
    dump(experiment.load_config(toy.config), data_dir, folder / "dump", nj=1, job=1)
    merge_dump(data_dir, folder / "dump", 1)
    return replace(toy, train=folder / "dump")


def curve(toy: Toy, exp_dir: Path, *overrides: str, processes: int = 1) -> list[float]:
    """Return the training loss of each step and the last validation loss."""
    result = toy.run(exp_dir, *STEPS, *overrides, processes=processes)
    assert result.returncode == 0, result.stderr[-3000:]
    return [row["loss"] for row in read_metrics(exp_dir / "metrics.jsonl")]


@pytest.mark.slow
def test_one_batch_equals_accumulated_batches_and_two_ranks(unequal: Toy, tmp_path: Path) -> None:
    whole = curve(unequal, tmp_path / "whole", "data.batch_size=2")
    accumulated = curve(unequal, tmp_path / "accumulated", "data.batch_size=1", "train.accumulation=2")
    assert accumulated == pytest.approx(whole, abs=1e-4)
    for stage in (0, 1, 2):
        settings = tmp_path / f"zero{stage}.json"
        settings.write_text(json.dumps({"zero_optimization": {"stage": stage}}))
        options = "data.batch_size=1", f"train.deepspeed={settings}"
        assert curve(unequal, tmp_path / f"ranks{stage}", *options, processes=2) == pytest.approx(whole, abs=1e-4)

"""Training and decoding without a dump: exact after a kill and with any number of workers."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from test_training import assert_same, end_after_the_first_checkpoint
from toy_experiment import Toy

from speechllm import bin as command_line
from speechllm import experiment
from speechllm.data.dump import merge_dump
from speechllm.data.kaldi.data_dir import read_table
from speechllm.inference.dump import dump
from speechllm.inference.run import SetToDecode, decode
from speechllm.train.average import average

AUGMENT = (
    "data.dump=none",
    "data.augment={speeds: [0.9, 1.1], snr: [5, 20], reverberation: [0.2, 0.4], probability: 0.5}",
    "data.spec_augment={}",
)


@pytest.mark.slow
def test_training_is_exact_and_decoding_is_that_of_a_dump(toy: Toy, tmp_path: Path) -> None:
    audio = replace(toy, train=toy.folder / "train/noise", valid=toy.folder / "valid/noise")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = audio.run(whole, *AUGMENT, "data.num_workers=2")
    assert result.returncode == 0, result.stderr[-3000:]
    end_after_the_first_checkpoint(audio.start(killed, *AUGMENT), killed, signal.SIGKILL)
    result = audio.run(killed, *AUGMENT)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "resumed at step 3 of 8" in result.stdout
    assert_same(killed, whole)

    average(whole)
    overrides = ("data.dump=features", "data.compress=false")
    by_dump = experiment.read_experiment(whole, overrides=overrides)
    dump(by_dump, audio.valid, tmp_path / "dump", nj=1, job=1)
    merge_dump(audio.valid, tmp_path / "dump", nj=1)
    dumped = SetToDecode(source=tmp_path / "dump", out_dir=tmp_path / "dumped")
    decode(whole, by_dump, [dumped], nj=1, job=None)
    by_audio = experiment.read_experiment(whole)
    decode(whole, by_audio, [SetToDecode(source=audio.valid, out_dir=tmp_path / "read")], nj=2, job=None)
    assert read_table(tmp_path / "read/text", allow_empty=True) == read_table(
        tmp_path / "dumped/text", allow_empty=True
    )


def test_the_dump_is_skipped_with_a_sentence(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(toy.config), "--set", "data.dump=none", "--dump", str(tmp_path / "dump"), "train"]
    assert command_line.main(["dump", *arguments]) == 0
    assert "data.dump is none: features are computed when audio is read, nothing to dump" in capsys.readouterr().out
    assert not (tmp_path / "dump").exists()

"""Signals end training after a step, with a checkpoint that continues exactly; a second training is rejected."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import Forked, speechllm
from toy_experiment import Toy

from speechllm.errors import ConfigError
from speechllm.lock import exclusive_lock
from speechllm.models.weights import read_weights
from speechllm.train.checkpoint import read_resume
from speechllm.train.interrupt import REPEATED, StopRequest, stop_request
from speechllm.train.metrics import read_metrics

LONG = ("train.max_steps=30", "train.valid_every=29", "train.log_every=7", "data.num_workers=2")


def rows(exp_dir: Path) -> list[tuple[str, int, float]]:
    return [(row["kind"], row["step"], row["loss"]) for row in read_metrics(exp_dir / "metrics.jsonl")]


def wait_for(reached: Callable[[], bool], process: Forked | subprocess.Popen[str]) -> None:
    while not reached():
        assert process.poll() is None, "ended before"
        time.sleep(0.02)


def has_logged(exp_dir: Path, kind: str = "train") -> Callable[[], bool]:
    return lambda: any(row["kind"] == kind for row in read_metrics(exp_dir / "metrics.jsonl"))


def assert_same(exp_dir: Path, whole: Path) -> None:
    assert rows(exp_dir) == rows(whole)
    for path in (whole / "best").iterdir():
        expected, found = read_weights(path), read_weights(exp_dir / "best" / path.name)
        assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_weights_follow(toy: Toy, tmp_path: Path) -> None:
    """Also between two log lines, and where the terminal sends the signal to the workers of the loader, too."""
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    result = toy.run(whole, *LONG)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "initial weights: base models, otherwise random with seed 1" in result.stdout
    training = toy.start(ended, *LONG, new_session=True)
    wait_for(has_logged(ended), training)
    os.killpg(training.pid, signal.SIGINT)
    done = training.wait(120)
    output = done.stdout + done.stderr
    assert "SIGINT: training stops after this optimizer step" in output
    assert f"{ended}: stopped after step " in output and "Traceback" not in output
    assert done.returncode == 130
    (checkpoint,) = (ended / "checkpoints").glob("step_*")
    assert 7 <= int(checkpoint.name.removeprefix("step_")) < 29
    result = toy.run(ended, *LONG)
    assert result.returncode == 0, result.stderr[-3000:]
    assert_same(ended, whole)


@pytest.mark.slow
def test_two_ranks_stop_at_the_same_step(toy: Toy, tmp_path: Path) -> None:
    whole, ended, options = tmp_path / "whole", tmp_path / "ended", ("train.max_steps=30", "train.valid_every=29")
    assert toy.run(whole, *options, processes=2).returncode == 0
    command = toy.command(ended, *options, processes=2)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as launcher:
        wait_for(has_logged(ended), launcher)
        launcher.terminate()
        assert "stopped after step " in launcher.communicate(timeout=120)[0]
    result = toy.run(ended, *options, processes=2)
    assert "resumed at step" in result.stdout, result.stderr[-3000:]
    assert_same(ended, whole)


def interrupted(call: int, arguments: list[str]) -> int:
    """Run a verb, interrupted by a signal at one of the calls of ``StopRequest.check``."""
    from speechllm.train import trainer

    class Request:
        calls = 0

        def check(self) -> None:
            self.calls += 1
            if self.calls == call:
                raise trainer.Interrupted

        def agreed(self) -> signal.Signals:
            return signal.SIGUSR1

    trainer.stop_request = lambda: contextlib.nullcontext(Request())
    return speechllm(arguments)


@pytest.mark.slow
@pytest.mark.parametrize("call", [3, 5])  # before and in the first validation, which follows step 3
def test_an_interrupted_validation_is_made_up_for(toy: Toy, tmp_path: Path, call: int) -> None:
    exp_dir, whole = tmp_path / "exp", tmp_path / "whole"
    result = Forked(interrupted, call, toy.arguments(exp_dir, "train.max_steps=4")).wait()
    assert result.returncode == 138, result.stderr[-3000:]
    assert [path.name for path in (exp_dir / "checkpoints").glob("step_*")] == ["step_3_not_validated"]
    assert not has_logged(exp_dir, "valid")()
    for directory in (exp_dir, whole):
        assert toy.run(directory, "train.max_steps=4").returncode == 0
    assert_same(exp_dir, whole)


def test_a_second_signal_ends_the_process_and_a_repeated_one_does_not() -> None:
    program = f"""
import os, signal, time
from speechllm.train.interrupt import stop_request
with stop_request() as request:
    for one in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), one)
    print(request.agreed().name, flush=True)
    time.sleep({REPEATED} + 0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    print("not reached", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("SIGINT\n", -signal.SIGTERM)
    assert "SIGTERM: stopped at once" in done.stderr


def test_an_ignored_signal_remains_ignored_and_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    previous = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with stop_request() as request:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.agreed() is None
    assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGUSR1, previous)


def test_no_request_raises_nothing() -> None:
    StopRequest().check()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_second_training_is_refused_before_it_loads_models(toy: Toy, tmp_path: Path, processes: int) -> None:
    exp_dir = tmp_path / "exp"
    with exclusive_lock(exp_dir / ".lock", "the experiment"):
        result = toy.run(exp_dir, "encoder.path=/nowhere", processes=processes)
    assert result.returncode == 1
    assert f"the experiment {exp_dir} is in use by process {os.getpid()}" in result.stderr
    assert processes > 1 or "Traceback" not in result.stderr
    assert sorted(path.name for path in exp_dir.iterdir()) == [".lock"]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_is_not_unpickled(toy: Toy, tmp_path: Path) -> None:
    exp_dir, mark = tmp_path / "exp", tmp_path / "mark"
    assert toy.run(exp_dir, "train.max_steps=1").returncode == 0
    states = exp_dir / "checkpoints/step_1/mp_rank_00_model_states.pt"
    states.write_bytes(pickle.dumps(Evil(mark)).ljust(states.stat().st_size, b"\0"))
    result = toy.run(exp_dir, "train.max_steps=2")
    assert result.returncode == 1
    assert f"speechllm train: {states}: cannot be read as a checkpoint" in result.stderr
    assert not mark.exists()


GOOD = {
    "tag": "step_1",
    "world_size": 1,
    "zero_stage": 0,
    "bases": {},
    "files": {"a.pt": 3},
    "position": {"step": 1, "sampler": {}, "best": []},
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(GOOD)[:40], r"resume\.json: cannot be read: "),
        ("", r"resume\.json: cannot be read: "),
        ("[]", r"resume\.json: cannot be read: config: expected a mapping"),
        (json.dumps(GOOD | {"world_size": "2"}), r"resume\.json: cannot be read: world_size: expected int"),
        (json.dumps(GOOD | {"tag": "../elsewhere"}), r"resume\.json: tag: found '\.\./elsewhere', expected 'step_1'"),
        (json.dumps(GOOD | {"files": {"a.pt": 4}}), r"step_1/a\.pt: found 3 bytes, expected 4; remove"),
        (json.dumps(GOOD | {"files": {"b.pt": 4}}), r"step_1/b\.pt: found 0 bytes, expected 4; remove"),
    ],
)
def test_a_damaged_checkpoint_is_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "step_1").mkdir()
    (tmp_path / "step_1/a.pt").write_text("abc")
    (tmp_path / "resume.json").write_text(json.dumps(GOOD))
    assert read_resume(tmp_path).position.step == 1
    (tmp_path / "resume.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_resume(tmp_path)


@pytest.mark.slow
def test_a_full_disk_leaves_the_previous_checkpoint(toy: Toy, tmp_path: Path) -> None:
    """The disk is simulated by a limit on the size of files."""
    exp_dir = tmp_path / "exp"
    assert toy.run(exp_dir, "train.max_steps=1").returncode == 0
    limited = ["prlimit", "--fsize=60000", *toy.command(exp_dir, "train.max_steps=2")]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("speechllm train: the checkpoint cannot be written: "), result.stderr[-3000:]
    assert [path.name for path in (exp_dir / "checkpoints").glob("step_*")] == ["step_1"]
    result = toy.run(exp_dir, "train.max_steps=2")
    assert result.returncode == 0, result.stderr[-3000:]

"""Jobs and training on a real Slurm, where one is up (tools/start_slurm.sh makes one of this machine)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_experiment import Toy

from speechllm.data.dump import merge_dump
from speechllm.train.metrics import read_metrics

UTILS = Path(__file__).parents[2] / "utils"


def is_up() -> bool:
    if not shutil.which("sinfo"):
        return False
    found = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    return "idle" in found.stdout or "mix" in found.stdout


pytestmark = pytest.mark.skipif(not is_up(), reason="no Slurm is up")


def run(*command: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, check=False)


def losses(exp_dir: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(exp_dir / "metrics.jsonl") if row["kind"] == "train"]


def test_an_array_of_jobs_dumps_a_set(toy: Toy, tmp_path: Path) -> None:
    dump = ["speechllm", "dump", "--nj", "2", "--job", "JOB", "--config", toy.config]
    dump += ["--data", toy.folder / "train", "--dump", tmp_path / "dump"]
    log = tmp_path / "log/dump.JOB.log"
    done = run(UTILS / "run_slurm.sh", "--cpus-per-task=1", "JOB=1:2", log, *dump, "noise")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "dump").glob("*/noise")
    merge_dump(toy.folder / "train/noise", folder, 2)
    assert len((folder / "feats.scp").read_text().splitlines()) == 7
    for job in "12":
        lines = (tmp_path / f"log/dump.{job}.log").read_text().splitlines()
        assert lines[0].startswith(f"# speechllm dump --nj 2 --job {job} ")
        assert lines[-1].endswith("with status 0")


def test_a_job_that_fails_is_named(tmp_path: Path) -> None:
    log = tmp_path / "x.JOB.log"
    done = run(UTILS / "run_slurm.sh", "--cpus-per-task=1", "JOB=1:3", log, "bash", "-c", "echo spoiled; [ JOB != 2 ]")
    assert done.returncode == 1
    assert f"job 2 failed; the end of {tmp_path}/x.2.log" in done.stderr
    assert "spoiled" in done.stderr
    assert "job 1 failed" not in done.stderr


def test_two_processes_train_as_they_do_without_slurm(toy: Toy, tmp_path: Path) -> None:
    plain = toy.run(tmp_path / "plain", "train.max_steps=4", processes=2)
    assert plain.returncode == 0, plain.stderr[-3000:]
    command = toy.command(tmp_path / "slurm", "train.max_steps=4")
    done = run(UTILS / "train_slurm.sh", 1, 0, *command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 process(es)" in done.stdout
    assert losses(tmp_path / "slurm") == losses(tmp_path / "plain")

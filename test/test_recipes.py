"""Every run.sh with --dry_run: its commands, and its error messages."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.experiment import load_config

EGS = Path(__file__).parents[1] / "egs"
RECIPES = sorted(EGS.glob("*/run.sh"))
CONFIG = "../librispeech/conf/quickstart.yaml"
MAKES_ITS_CORPUS = {"spoken_gutenberg"}
CORPUS = ["--corpus_dir", "/nowhere"]
TRAINING = {"train", "average"}


def run(recipe: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix, **variables}
    return subprocess.run([recipe, *options], capture_output=True, text=True, env=environment, check=False)


def only_tests(recipe: Path) -> bool:
    return "--trained" in recipe.read_text()


@pytest.fixture(params=RECIPES, ids=lambda path: path.parent.name)
def recipe(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=[path for path in RECIPES if not only_tests(path)], ids=lambda path: path.parent.name)
def training_recipe(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def trained(tmp_path: Path) -> list[str]:
    """Return the options to test an experiment that exists for a dry run."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.yaml").write_text((EGS / "librispeech/conf/quickstart.yaml").read_text())
    return ["--trained", str(tmp_path / "model")]


def test_dry_run_names_every_stage_and_runs_none(training_recipe: Path) -> None:
    recipe = training_recipe
    before = sorted(path.name for path in recipe.parent.iterdir())
    options = ["--dry_run", "--config", CONFIG, "--baseline", "auto", "--ngpu", "0", "--tag", "dry"]
    result = run(recipe, *options, "--set", "train.lr=1e-4 decode.dtype='float32' seed=2", *CORPUS)
    assert result.returncode == 0, result.stderr
    printed = result.stdout + result.stderr
    for stage in range(7):
        assert f"# stage {stage}:" in printed
    first = "make_spoken_gutenberg.py" if recipe.parent.name in MAKES_ITS_CORPUS else "speechllm download"
    assert f"{first} " in printed
    for verb in (
        "prepare",
        "derive",
        "dump",
        "train",
        "average",
        "decode",
        "baseline",
        "score_sets",
        "results",
        "report",
    ):
        assert f"speechllm {verb} " in printed, verb
    assert r"--set train.lr=1e-4\ decode.dtype=\'float32\'\ seed=2 " in printed
    assert "Successfully finished. [elapsed=" in printed
    assert sorted(path.name for path in recipe.parent.iterdir()) == before


def test_mini_makes_its_corpus_and_stays_apart(recipe: Path, trained: list[str]) -> None:
    options = trained if only_tests(recipe) else []
    result = run(recipe.with_name("run_mini.sh"), "--dry_run", *options)
    assert result.returncode == 0, result.stderr
    printed = result.stdout + result.stderr
    maker = re.search(r"python3 \.\./\.\./(tools/make_mini_\w+\.py) \.\./\.\./downloads/mini_", printed)
    assert maker is not None
    assert (EGS.parent / maker[1]).is_file()
    assert "deepspeed" not in printed
    assert not re.search(r" (data|dump|exp)/| --(data|dump) (?!mini/)", re.sub(r"--command .*", "", printed))
    (command,) = re.findall(r"--command (.*)", result.stderr)
    assert shlex.split(shlex.split(command)[0]) == ["./run_mini.sh", "--dry_run", *options]
    assert "--work_dir" in run(recipe.with_name("run_mini.sh"), "--help").stdout


def test_slurm_runs_arrays_and_srun(training_recipe: Path) -> None:
    options = ["--dry_run", "--config", CONFIG, "--stage", "2", "--stop_stage", "5", "--num_nodes", "2"]
    printed = run(training_recipe, *options, "--ngpu", "4", CMD_BACKEND="slurm").stderr
    assert "run_slurm.sh --cpus-per-task=2 JOB=1:" in printed
    assert "run_slurm.sh --cpus-per-task=2 --gpus-per-task=1 JOB=1:1 exp/quickstart/log/decode" in printed
    result = run(training_recipe, *options, "--ngpu", "0", CMD_BACKEND="slurm")
    assert "train_slurm.sh 2 0 python3 -m speechllm train --config" in result.stdout
    assert "--gpus-per-task" not in result.stderr
    result = run(training_recipe, *options, CMD_BACKEND="pbs")
    assert (result.returncode, result.stderr) == (2, "cmd.sh: found cmd_backend=pbs, expected local or slurm\n")


def test_many_gpus_start_deepspeed(training_recipe: Path) -> None:
    result = run(training_recipe, "--dry_run", "--config", CONFIG, "--stage", "3", "--stop_stage", "3", "--ngpu", "4")
    assert "deepspeed --num_nodes 1 --num_gpus 4 --no_local_rank --module speechllm train" in result.stdout


def test_a_stage_can_be_the_last(training_recipe: Path) -> None:
    for stage in ("0", "1", "6"):
        options = ["--dry_run", "--stage", stage, "--stop_stage", stage, "--config", CONFIG]
        result = run(training_recipe, *options, *CORPUS)
        assert result.returncode == 0, result.stderr
        assert f"# stage {stage}:" in result.stderr
        assert "Successfully finished." in result.stdout


def test_sets_are_given_to_the_verbs_as_they_are_named() -> None:
    train = ["train_clean_5_train2", "train_clean_5_train2_sp0.9", "../spoken_gutenberg/data/train_spoken"]
    test = ["test_clean", "test_clean_shuffled", "test_clean_cat60", "non_speech", "../commonvoice/data/test"]
    options = ["--train_sets", " ".join(train), "--valid_set", "train_clean_5_valid2", "--config", CONFIG]
    result = run(EGS / "librispeech/run.sh", "--dry_run", *options, "--test_sets", " ".join(test), *CORPUS)
    assert result.returncode == 0, result.stderr
    all_sets = " ".join([*train, "train_clean_5_valid2", *test])
    for line in (
        f"speechllm prepare librispeech /nowhere data --sets {all_sets}\n",
        f"speechllm derive --config {CONFIG} --data data {all_sets}\n",
        f"speechllm dump --nj 16 --config {CONFIG} --data data --dump dump {all_sets}\n",
        f"--data data --dump dump --exp exp/quickstart exp/quickstart {' '.join(test)}\n",
        f"speechllm score_sets --normalizer librispeech --data data exp/quickstart {' '.join(test)}\n",
    ):
        assert line in result.stderr, line
    assert f" --train {' '.join(train)} --valid train_clean_5_valid2 exp/quickstart\n" in result.stdout


def test_there_are_few_options_and_lines() -> None:
    text = (EGS.parent / "utils/recipe.sh").read_text()
    assert len(declared_options(text)) <= 22
    assert text.count("\n") <= 150


RENAMED = dict(line.split(" ", 1) for line in (EGS.parent / "utils/renamed_options").read_text().splitlines())


@pytest.mark.parametrize("old", RENAMED)
def test_a_former_option_is_an_error_that_names_its_replacement(old: str) -> None:
    result = run(EGS / "librispeech/run.sh", f"--{old}", "x")
    assert (result.returncode, f"option --{old} was renamed, expected: {RENAMED[old]}\n" in result.stderr) == (2, True)
    options = declared_options((EGS.parent / "utils/recipe.sh").read_text())
    assert old not in options
    named = set(re.findall(r"--(\w+)", RENAMED[old]))
    assert named - {"typed"} <= set(options)


def declared_options(text: str) -> list[str]:
    return text.split('options="')[1].split('"')[0].replace("\\", " ").split()


TABLES = EGS / "librispeech/run_mini_tables.sh"


def trained_by(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return the command of each training, by the name of the experiment."""
    assert result.returncode == 0, result.stderr
    commands = re.findall(r"speechllm train (.*) exp/mini_(\w+)\n", result.stdout)
    assert len(commands) == len(dict(map(reversed, commands)))
    return {name: command for command, name in commands}


def test_mini_tables_train_long_rows_last_and_decode_concatenated_sets() -> None:
    options = ["--dry_run", "--rows", "table6_fc75 table2_fc75", "--seeds", "1 2", "--test_sets", "test_other"]
    result = run(TABLES, *options, LIBRISPEECH="/nowhere")
    rows = ["table2_fc75", "table6_fc75"]
    assert list(trained_by(result)) == ["table2_fc75_aligned", *rows, *(f"{row}_seed2" for row in rows)]
    sets = "test_other test_other_shuffled test_other_cat60 test_other_cat60_shuffled test_other_cat90"
    assert f" exp/mini_table6_fc75_seed2 {sets} test_other_cat90_shuffled\n" in result.stderr
    row = (EGS / "librispeech/conf/mini/table6_fc75.yaml").read_text()
    assert "init_from: exp/mini_table2_fc75," in row


def test_mini_tables_pretrain_every_kind_of_connector_once() -> None:
    options = ["--dry_run", "--rows", "main table1_no_concat table4_tiny", "--seeds", "1 2", "--align_steps", "7"]
    result = run(TABLES, *options, LIBRISPEECH="/nowhere")
    trained = trained_by(result)
    names = ["main", "table1_no_concat", "table4_tiny"]
    aligned = ["main_aligned", "table4_tiny_aligned"]
    assert list(trained) == [
        *("main_aligned", "main", "table1_no_concat", "table4_tiny_aligned", "table4_tiny"),
        *(f"{name}_seed2" for name in names),
    ]
    for name, command in trained.items():
        for setting in ("train.ctc_steps=7", "train.max_steps=7", "train.init_from=null", "encoder.padding=none"):
            assert (rf"\ {setting}" in command) == (name in aligned)
    assert "speechllm decode" in result.stderr
    assert not re.search(r"speechllm decode .*_aligned", result.stderr)
    for row, begins_from in zip(names, (aligned[0], aligned[0], aligned[1]), strict=True):
        config = load_config(EGS / f"librispeech/conf/mini/{row}.yaml", [])
        assert config.train.init_from == f"exp/mini_{begins_from}"


def test_mini_tables_on_a_cpu_train_on_dumped_states_and_reject_other_rows() -> None:
    assert run(TABLES, "--dry_run", LIBRISPEECH="").stderr.count("found no corpus folder") == 1
    options = ["--dry_run", "--ngpu", "0", "--test_sets", "test_other"]
    result = run(TABLES, *options, "--rows", "main", LIBRISPEECH="/nowhere")
    for command in trained_by(result).values():
        assert re.search(r"data.dump=encoder.*train.dtype=(bfloat16|float32)", command)
    assert "_cat60" not in result.stderr
    rejected = run(TABLES, *options, "--rows", "main table6_qf80", LIBRISPEECH="/nowhere")
    assert rejected.returncode == 2
    assert "--rows table6_qf80: not available with --ngpu 0" in rejected.stderr


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("flags : fpu amx_bf16 sse", "bfloat16"), ("Features : fp asimd bf16", "bfloat16"), ("flags : avx2", "float32")],
)
def test_training_on_a_cpu_is_in_the_precision_that_it_has_instructions_for(
    flags: str, dtype: str, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    for path in (tmp_path / "cpuinfo", tmp_path / "none"):
        result = run(EGS.parent / "utils/cpu_dtype.sh", str(path))
        assert result.stdout.strip() == (dtype if path.exists() else "float32")


def test_a_trained_experiment_is_tested_and_not_trained(trained: list[str]) -> None:
    recipe = EGS / "eval2000/run.sh"
    result = run(recipe, "--dry_run", *trained, *CORPUS)
    assert result.returncode == 0, result.stderr
    printed = result.stdout + result.stderr
    for verb in ("download", "prepare", "derive", "dump", "decode", "score_sets", "results"):
        assert f"speechllm {verb} " in printed, verb
    assert not any(f"speechllm {verb} " in printed for verb in TRAINING)
    assert f"--exp {trained[1]} {trained[1]} callhome switchboard" in printed
    assert run(recipe, "--dry_run", "--trained", "/nowhere", "--stop_stage", "1", *CORPUS).returncode == 0


def test_a_model_that_is_no_experiment_has_its_results_in_the_recipe() -> None:
    command = ["--dry_run", "--trained", "base-smollm2-ctc", "--inference_nj", "2", *CORPUS]
    result = run(EGS / "eval2000/run.sh", *command, EVAL2000="/data/a b")
    assert result.returncode == 0, result.stderr
    exp = "exp/base-smollm2-ctc"
    for line in (
        "speechllm dump --nj 8 --config base-smollm2-ctc --data data --dump dump callhome switchboard",
        f"speechllm decode --nj 2 --data data --dump dump --exp {exp} base-smollm2-ctc callhome switchboard",
        f"speechllm score_sets --normalizer librispeech --data data {exp} callhome switchboard",
        "speechllm report exp/base-smollm2-ctc --data data",
    ):
        assert f" {line}" in result.stderr, line
    assert "--trust_components" not in result.stderr
    (said,) = re.findall(r"--output exp/base-smollm2-ctc/RESULTS.md --command (.*)", result.stderr)
    assert shlex.split(shlex.split(said)[0]) == ["EVAL2000=/data/a b", "./run.sh", *command]


def test_the_command_that_was_typed_is_recorded() -> None:
    for name, variable, extra in (
        ("librispeech", "LIBRISPEECH", []),
        ("commonvoice", "COMMON_VOICE", ["--lang", "de"]),
    ):
        typed = [
            "--dry_run",
            "--stage",
            "6",
            *extra,
            "--config",
            CONFIG,
            "--set",
            "seed=2 prompt.template='a \"b\" <speech>'",
        ]
        result = run(EGS / name / "run.sh", *typed, **{variable: ""})
        assert result.returncode == 0, result.stderr
        (said,) = re.findall(r"--command (.*)", result.stderr)
        assert shlex.split(shlex.split(said)[0]) == ["./run.sh", *typed]


def test_mistakes_end_with_a_sentence(recipe: Path, trained: list[str]) -> None:
    recipe_options = trained if only_tests(recipe) else []
    for options, message in [
        (["--stagge", "1"], "unknown option --stagge"),
        (["--stage"], "option --stage needs a value"),
        (["extra"], "unexpected argument 'extra'"),
        (["--config", "conf/none.yaml"], "conf/none.yaml: no such file"),
        (["--corpus_dir", ""], "found no corpus folder, expected one; set "),
        (["--baseline", "--ngpu", "0"], "option --baseline needs a value"),
    ]:
        result = run(recipe, *recipe_options, *options)
        assert result.returncode == 2, options
        assert message in result.stderr


def test_an_empty_variable_is_no_corpus() -> None:
    result = run(EGS / "librispeech/run.sh", LIBRISPEECH="")
    assert result.returncode == 2
    assert "found no corpus folder, expected one; set LIBRISPEECH" in result.stderr


def test_help_explains_every_option(recipe: Path) -> None:
    result = run(recipe, "--help")
    assert result.returncode == 0
    declared = declared_options((EGS.parent / "utils/recipe.sh").read_text())
    for option in declared:
        assert f"--{option} " in result.stdout, option


def test_jobs_run_side_by_side_and_failures_are_named(tmp_path: Path) -> None:
    launcher = EGS.parent / "utils/run_local.sh"
    log = tmp_path / "log/x.JOB.log"
    good = subprocess.run(
        [launcher, "JOB=1:3", log, "bash", "-c", "echo out JOB"], capture_output=True, text=True, check=False
    )
    assert good.returncode == 0
    lines = (tmp_path / "log/x.3.log").read_text().splitlines()
    assert lines[0].startswith("# bash -c")
    assert lines[1] == "out 3"
    assert "with status 0" in lines[-1]
    first = subprocess.run([launcher, "JOB=1:2", log, "bash", "-c", "[ JOB != 1 ]"], capture_output=True, check=False)
    assert first.returncode == 1  # its output goes through a pipe
    bad = subprocess.run(
        [launcher, "JOB=1:3", log, "bash", "-c", "[ JOB != 2 ]"], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert "job 2 failed" in bad.stderr
    assert "x.2.log" in bad.stderr


def gone(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "zombie" in status.read_text()
    except FileNotFoundError:
        return True


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_launcher_that_is_ended_ends_its_jobs(tmp_path: Path, number: signal.Signals) -> None:
    launcher, log = EGS.parent / "utils/run_local.sh", tmp_path / "log/x.JOB.log"
    started = tmp_path / "started"
    command = f"echo $$ >> {started}; sleep 300; true"
    process = subprocess.Popen([launcher, "JOB=1:2", log, "bash", "-c", command], stderr=subprocess.DEVNULL)
    wait_for(lambda: started.exists() and len(started.read_text().split()) == 2, "the jobs did not start")
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    for pid in started.read_text().split():
        wait_for(lambda pid=pid: gone(pid), "a job outlived its launcher")


PROGRAM = """#!{python}
import os, signal, sys, time
arguments = sys.argv[1:]
if arguments[0] != {verb!r}:
    sys.exit()
def save(number, frame):
    time.sleep(0.3)
    open("saved", "a").write(f"{{signal.Signals(number).name}}\\n")
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
open("pids", "a").write(f"{{os.getpid()}}\\n")
print("it runs", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize(
    ("verb", "number"),
    [("train", signal.SIGTERM), ("train", signal.SIGINT), ("dump", signal.SIGTERM), ("derive", signal.SIGINT)],
)
def test_a_recipe_that_is_ended_passes_it_on_and_waits(tmp_path: Path, verb: str, number: signal.Signals) -> None:
    recipe, programs = tmp_path / "egs/librispeech", tmp_path / "bin"
    shutil.copytree(EGS.parent / "utils", tmp_path / "utils")
    for folder in (recipe, programs):
        folder.mkdir(parents=True)
    for name in ("run.sh", "path.sh", "cmd.sh", "../cmd.sh"):
        shutil.copy(EGS / "librispeech" / name, recipe / name)
    (recipe / "x.yaml").touch()
    text = PROGRAM.format(python=sys.executable, verb=verb)
    (programs / "speechllm").write_text(text)
    (programs / "python3").write_text('#!/bin/sh\nshift 2\nexec speechllm "$@"\n')  # python3 -m speechllm train
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LIBRISPEECH": "/nowhere"}
    command = [recipe / "run.sh", "--config", "x.yaml", "--nj", "2", "--ngpu", "0", "--stage", "1"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=recipe, env=environment, stdout=log, stderr=log)
    pids, jobs = recipe / "pids", 2 if verb == "dump" else 1
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == jobs, (tmp_path / "log").read_text())
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    assert (recipe / "saved").read_text() == f"{number.name}\n" * jobs
    for pid in pids.read_text().split():
        assert gone(pid)
    if verb == "train":
        assert "it runs" in (recipe / "exp/x/train.log").read_text()


def test_jobs_have_their_share_of_the_cores_whatever_the_environment_says(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    for variables, threads in (
        ({"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "7"}, max(1, cores // 2)),
        ({"SPEECHLLM_THREADS": "3", "OMP_NUM_THREADS": "7"}, 3),
    ):
        command = ["JOB=1:2", str(tmp_path / "x.JOB.log"), "sh", "-c", "echo $OMP_NUM_THREADS $MKL_NUM_THREADS"]
        assert run(EGS.parent / "utils/run_local.sh", *command, **variables).returncode == 0
        for job in "12":
            assert (tmp_path / f"x.{job}.log").read_text().splitlines()[1] == f"{threads} {threads}"


def test_jobs_of_slurm_are_cancelled_with_their_launcher(tmp_path: Path) -> None:
    (tmp_path / "sbatch").write_text(f'#!/bin/sh\necho $$ "$@" >{tmp_path}/submitted\nexec sleep 300\n')
    (tmp_path / "scancel").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/cancelled\n')
    for name in ("sbatch", "scancel"):
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [EGS.parent / "utils/run_slurm.sh", "JOB=1:2", tmp_path / "dump.JOB.log", "true"]
    process = subprocess.Popen(command, env=environment)
    wait_for(lambda: (tmp_path / "submitted").exists() and (tmp_path / "submitted").read_text() != "", "no sbatch")
    process.terminate()
    assert process.wait(timeout=20) == 143
    name = re.search(r"--job-name=(\S+)", (tmp_path / "submitted").read_text())
    assert name is not None
    assert (tmp_path / "cancelled").read_text() == f"--name={name[1]}\n"
    pid = (tmp_path / "submitted").read_text().split()[0]
    wait_for(lambda: gone(pid), "sbatch outlived its launcher")

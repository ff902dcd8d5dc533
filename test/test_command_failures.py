"""Errors that users cause end with one sentence and a status; bugs keep their traceback."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.errors import DataError
from speechllm.failures import exit_status

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "egs/librispeech/conf/quickstart.yaml"
SPEECHLLM = [sys.executable, "-m", "speechllm"]
WAITS = """
import sys, time
from pathlib import Path
import speechllm.bin.fix
from speechllm.atomic import new_file
def run(args):
    with new_file(Path("result")) as path:
        path.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
speechllm.bin.fix.run = run
sys.exit(speechllm.bin.main(["fix", "x"]))
"""


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **variables}


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line with the real command as S and a configuration as C."""
    variables |= {"S": " ".join(SPEECHLLM), "C": str(CONFIG)}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env=environment(**variables),
        check=False,
    )


def status(error: BaseException, verb: str = "train") -> int | None:
    """Return the status of a raised error."""
    try:
        raise error
    except BaseException as raised:
        return exit_status(raised, f"speechllm {verb}")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_is_full_closed_or_left(tmp_path: Path, unbuffered: str) -> None:
    (tmp_path / "ref").write_text("a b\n")
    full = shell("$S score ref ref >/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert full.returncode == 1
    assert full.stderr == (
        "speechllm score: standard output: no space left on device; free some space, or write to another disk\n"
    )
    left = shell("$S score ref ref | true", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (left.returncode, left.stderr) == (141, "")
    both = shell("$S score nowhere ref 2>&1 | true", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (both.returncode, both.stderr) == (1, "")
    closed = shell("$S score ref ref >&-", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_standard_output_without_the_letters(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("a caf\xe9\n", encoding="utf-8")
    result = shell("$S score ref ref --examples 1", tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 1
    assert "speechllm score: standard output: its encoding ascii lacks '\\xe9'; set PYTHONIOENCODING" in result.stderr
    assert "Traceback" not in result.stderr
    (tmp_path / "caf\udce9").write_text("a b\n")
    assert shell("$S score caf* caf* && $S score caf* caf* | grep -q $'caf\\xe9'", tmp_path).returncode == 0


def test_files_and_folders_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a b\n")
    (tmp_path / "latin1").write_bytes(b"a caf\xe9\n")
    for command, sentence in (
        ("$S score file nowhere", "score: nowhere: "),
        ("$S score file file file/score", "score: file/"),
        ("$S score file file /dev/full/x", "score: /dev/full"),
        (f"$S score file file {'x' * 300}", "file name too long; choose a shorter name"),
        ("$S score latin1 file", "score: latin1:1: "),
        ("ulimit -f 0; $S score file file cut", "score: cut/"),
        (
            "$S score file file exp/decode/x/score >/dev/null && $S report exp --data /nowhere",
            "report: /nowhere: no such",
        ),
        ("$S score . file", "score: .: cannot be read (Is a directory)"),
    ):
        result = shell(command, tmp_path)
        assert result.returncode == 1, command
        assert sentence in result.stderr, command
        assert result.stderr.count("\n") == 1, command
        assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a b\n")
    tmp_path.chmod(0o500)
    result = shell("$S score file file out", tmp_path)
    assert (result.returncode, "permission denied" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT"), (signal.SIGHUP, "SIGHUP")],
)
def test_signals_end_with_a_sentence_and_leave_no_temporary_file(
    number: signal.Signals, sentence: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert said.decode() == f"speechllm fix: interrupted by {sentence}\n"
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_errors_of_torch_and_of_readers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json
    import pickle
    import zipfile

    import safetensors
    import torch
    import yaml

    path = tmp_path / "damaged.bin"
    path.write_bytes(b"{]: \x00")

    def sentence_of(read: object) -> str:
        try:
            read(path)  # type: ignore[operator]
        except Exception as error:
            assert exit_status(error, "speechllm decode") == 1
            return capsys.readouterr().err
        raise AssertionError("it was read")

    for read in (
        lambda path: json.loads(path.read_text()),
        lambda path: yaml.safe_load(path.read_text()),
        lambda path: safetensors.safe_open(path, "pt"),
        lambda path: pickle.loads(path.read_bytes()),
        lambda path: zipfile.ZipFile(path),
        lambda path: soundfile.read(path),
        lambda path: path.read_bytes() + (tmp_path / "none").read_bytes(),
    ):
        said = sentence_of(read)
        assert str(tmp_path) in said
        assert said.count("\n") == 1
    assert status(OSError(errno.EMFILE, "Too many open files", "x.wav")) == 1
    said = capsys.readouterr().err
    assert said.startswith("speechllm train: x.wav: too many open files; raise the limit (ulimit -n)")
    assert status(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0"), "train") == 1
    assert "out of memory: CUDA out of memory; lower data.batch_duration" in capsys.readouterr().err
    assert sentence_of(lambda path: torch.zeros(10**15)).startswith("speechllm decode: out of memory: ")
    assert sentence_of(lambda path: np.zeros(10**15)).startswith("speechllm decode: out of memory: ")


class Broken:
    """A data set whose second utterance cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            raise self.error
        return index


def test_an_error_in_a_worker_of_the_loader(capsys: pytest.CaptureFixture[str]) -> None:
    from torch.utils.data import DataLoader

    for error, said in (
        (DataError("feats.1.ark: cut short; dump it again"), "feats.1.ark: cut short; dump it again"),
        (OSError(errno.EIO, "Input/output error", "feats.1.ark"), "[Errno 5] Input/output error: 'feats.1.ark'"),
    ):
        with pytest.raises(type(error)) as caught:
            list(DataLoader(Broken(error), num_workers=1))  # type: ignore[arg-type]
        assert "Traceback" in str(caught.value)
        assert exit_status(caught.value, "speechllm train") == 1
        assert capsys.readouterr().err == f"speechllm train: {said}\n"


def test_bugs_keep_their_traceback(tmp_path: Path) -> None:
    for error in (ValueError("x"), RuntimeError("mat1 and mat2 shapes cannot be multiplied"), AssertionError("x")):
        assert status(error) is None
    assert status(SystemExit(2)) is None
    code = "import speechllm.bin.fix as fix, speechllm.bin as b; fix.run = lambda args: 1 / 0; b.main(['fix', 'x'])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_help_lists_each_verb_with_a_line_of_its_own_and_imports_none(tmp_path: Path) -> None:
    from speechllm.bin import verbs

    code = "import sys; from speechllm.bin import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'numpy', 'yaml'} & sys.modules.keys()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert result.returncode == 0, result.stderr
    for verb in verbs():
        assert sum(line.startswith(f"  {verb} ") and len(line) > 40 for line in result.stdout.splitlines()) == 1, verb


def test_the_working_directory_hides_no_module(tmp_path: Path) -> None:
    for name in ("yaml", "torch", "errno", "speechllm_local"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'was_imported')!r}, 'w')")
    result = shell("$S show_config $C", tmp_path)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "was_imported").exists()

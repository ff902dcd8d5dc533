"""Commands in processes forked from a server that has imported the large packages, so that each starts at once.

Signals, output and exit status are those of processes of their own, which ``python -m speechllm`` would take seconds to
start. Where there is a GPU the server imports nothing, because CUDA does not work in a forked process.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

import torch

PACKAGES = [
    "deepspeed",
    "kaldiio",
    "matplotlib.figure",
    "peft",
    "soundfile",
    "torch.utils.tensorboard",
    "torchaudio",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.models.whisper.modeling_whisper",
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([] if torch.cuda.is_available() else PACKAGES)


class Forked:
    """The processes of a function, which begin at once.

    Args:
        function: called in each process; its value is the exit status.
        arguments: of the function.
        processes: number of ranks for ``torch.distributed``; 1: no ranks.
        new_session: whether each process leads a process group, as behind ``subprocess.Popen(start_new_session=True)``.
    """

    def __init__(
        self, function: Callable[..., int], *arguments: object, processes: int = 1, new_session: bool = False
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._output = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for path in self._output:
            path.touch()
        environments = _ranks(processes) if processes > 1 else [{}]
        self._processes = [
            CONTEXT.Process(target=_call, args=(function, arguments, os.environ | one, self._output, new_session))
            for one in environments
        ]
        for process in self._processes:
            process.start()

    @property
    def pid(self) -> int:
        """The id of the first process."""
        return self._processes[0].pid

    def poll(self) -> int | None:
        """Return the exit status, the first one other than 0 if there are several; None while a process runs."""
        codes = [process.exitcode for process in self._processes]
        return None if None in codes else next(filter(None, codes), 0)

    def wait(self, timeout: float = 300) -> "CompletedProcess[str]":
        """Wait for the end; return exit status and output.

        Raises:
            TimeoutExpired: if a process runs for longer than ``timeout`` seconds; all are killed.
        """
        end = time.monotonic() + timeout
        for process in self._processes:
            process.join(max(0, end - time.monotonic()))
        status = self.poll()
        if status is None:
            for process in self._processes:
                process.kill()
            raise TimeoutExpired(self._processes[0].name, timeout, *self._texts())
        return CompletedProcess(self._processes[0].name, status, *self._texts())

    def _texts(self) -> list[str]:
        return [path.read_text() for path in self._output]


def speechllm(arguments: list[str]) -> int:
    """Run a verb."""
    from speechllm.bin import main

    sys.argv = ["speechllm", *arguments]
    return main()


def python(code: str) -> int:
    """Run Python code as ``python -c`` does."""
    sys.path.insert(0, "")
    exec(code, {"__name__": "__main__"})
    return 0


def _ranks(number: int) -> list[dict[str, str]]:
    """Return the variables of each rank, as torchrun sets them."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **common} for rank in range(number)]


def _call(
    function: Callable[..., int],
    arguments: tuple[object, ...],
    environment: dict[str, str],
    output: list[Path],
    new_session: bool,
) -> None:
    """Call the function with standard output and error appended to two files."""
    if new_session:
        os.setsid()
    for descriptor, path in zip((1, 2), output, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    sys.exit(function(*arguments))

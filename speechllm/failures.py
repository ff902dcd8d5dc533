"""Errors that a user can cause, as one sentence and an exit status; bugs keep their traceback."""

import contextlib
import errno
import io
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

STDOUT = "standard output"
INTERRUPTED, BROKEN_PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE
ADVICE = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EFBIG: "raise the limit (ulimit -f), or write less",
    errno.EROFS: "write to another folder",
    errno.EACCES: "change its permissions, or name another one",
    errno.EPERM: "change its permissions, or name another one",
    errno.ENOENT: "check the name",
    errno.ENOTDIR: "expected a folder; check the name",
    errno.EISDIR: "expected a file; check the name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit (ulimit -n), or use fewer jobs and workers",
    errno.EADDRINUSE: "choose another --port",
}
SMALLER = {
    "train": "lower data.batch_duration or data.batch_size, or set train.activation_checkpointing",
    "decode": "lower decode.batch_duration or decode.batch_size",
    "transcribe": "lower --batch_size or --max_window",
}
TEXTS_OF_TORCH = {
    "DefaultCPUAllocator: can't allocate memory": "memory",
    "CUDA out of memory": "memory",
    "PytorchStreamWriter failed writing": "disk",
    "No space left on device": "disk",
    "DataLoader worker": "worker",
}
"""Parts of messages of RuntimeErrors that are not bugs, and their kinds."""


class _StandardOutput(io.FileIO):
    """Standard output with its name in its errors."""

    def write(self, data: Any) -> int:
        """Write bytes; return their number."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = STDOUT
            raise


class Terminated(SystemExit):
    """Exit of the process on a signal; ``finally`` blocks run, as after ``sys.exit``."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise ``Terminated`` on SIGTERM and SIGHUP within the block, unless they are already handled or ignored."""
    main, old = os.getpid(), {}

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != main:  # a worker process that inherited the handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Terminated(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                old[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def named_stdout() -> Iterator[None]:
    """Name standard output in its errors, and let it print file names that are not UTF-8."""
    old = sys.stdout
    if not isinstance(old, io.TextIOWrapper) or old is not sys.__stdout__:
        yield
        return
    old.flush()
    raw = _StandardOutput(old.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        raw if old.write_through else io.BufferedWriter(raw),
        encoding=old.encoding,
        errors="surrogateescape",
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
    try:
        yield
    finally:
        new, sys.stdout = sys.stdout, old
        new.flush()


def exit_status(error: BaseException, command: str) -> int | None:
    """Print a sentence about ``error`` on standard error.

    Args:
        error: error of a verb.
        command: beginning of the sentence: "speechllm train".

    Returns:
        The exit status; None for a bug, and for a plain ``SystemExit``.
    """
    known = (KINDS.get(f"{cls.__module__}.{cls.__qualname__}") for cls in type(error).__mro__)
    sentence = next((kind(error, command) for kind in known if kind is not None), None)
    status = getattr(error, "exit_status", 1)
    if isinstance(error, BrokenPipeError) and any(map(_has_no_reader, (1, 2))):
        sentence, status = "", BROKEN_PIPE
    elif isinstance(error, KeyboardInterrupt):
        status = INTERRUPTED
    elif isinstance(error, Terminated):
        status = int(str(error.code))
    if sentence is None:
        return None
    try:
        if sentence:
            print(f"{command}: {sentence}", file=sys.stderr, flush=True)
    except OSError:  # standard error is closed; the interpreter would flush it again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return status


def _message(error: BaseException, command: str) -> str:
    """Return the message of an error, without the traceback that torch adds to errors of worker processes."""
    text = str(error)
    if "Original Traceback (most recent call last)" in text:
        text = text.rpartition(f"{type(error).__qualname__}: ")[2]
    return " ".join(text.split())


def _of_system(error: Any, command: str) -> str:
    if error.errno is None:
        return _message(error, command)
    what = (error.strerror or os.strerror(error.errno)).lower()
    advice = f"; {ADVICE[error.errno]}" if error.errno in ADVICE else ""
    return f"{_place(error)}: {what}{advice}"


def _damaged(error: BaseException, command: str) -> str:
    return f"{_place(error)}: cannot be read or written: {_message(error, command)}; check it, or restore it"


def _no_utf8(error: Any, command: str) -> str:
    return f"{_place(error)}: found bytes that are not UTF-8 at {error.start}, expected UTF-8; convert it"


def _unwritable(error: Any, command: str) -> str:
    found = error.object[error.start : error.end]
    if error.encoding.lower().startswith("utf"):
        return f"{_place(error)}: found {found!r}, which UTF-8 cannot encode; rename or correct it"
    return f"{STDOUT}: its encoding {error.encoding} lacks {found!r}; set PYTHONIOENCODING=utf-8"


def _memory(error: BaseException, command: str) -> str:
    advice = SMALLER.get(command.split()[-1], "use smaller batches")
    return f"out of memory: {_message(error, command).partition('. ')[0]}; {advice}"


def _of_torch(error: BaseException, command: str) -> str | None:
    """Return a sentence about a RuntimeError of torch by its message; None for an unknown message, probably a bug."""
    kind = next((kind for text, kind in TEXTS_OF_TORCH.items() if text in str(error)), None)
    if kind == "memory":
        return _memory(error, command)
    if kind == "disk":
        return f"{_place(error)}: no space left on device; {ADVICE[errno.ENOSPC]}"
    if kind == "worker" and "killed" in str(error):
        return f"{_message(error, command)}; if memory ran out, lower data.num_workers or data.batch_duration"
    return None


def _ended(error: BaseException, command: str) -> str:
    number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else int(str(error)) - 128
    return f"interrupted by {signal.Signals(number).name}"


def _place(error: BaseException) -> str:
    """Return the file of an error: its own file name, or the innermost path in the traceback."""
    for name in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        if isinstance(name, str | bytes):
            return os.fsdecode(name)
    frames = [frame.f_locals.values() for frame, _ in traceback.walk_tb(error.__traceback__)]
    paths = [[value for value in values if isinstance(value, Path)] for values in reversed(frames)]
    nearest = next((found for found in paths if found), [])
    return next((str(path) for path in nearest if path.is_file()), str(nearest[-1]) if nearest else "a file")


def _has_no_reader(descriptor: int) -> bool:
    """Return whether a file descriptor is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


KINDS: dict[str, Callable[[BaseException, str], str | None]] = {
    "speechllm.errors.SpeechLLMError": _message,
    "builtins.KeyboardInterrupt": _ended,
    f"{__name__}.Terminated": _ended,
    "builtins.OSError": _of_system,
    "builtins.UnicodeDecodeError": _no_utf8,
    "builtins.UnicodeEncodeError": _unwritable,
    "builtins.MemoryError": _memory,
    "torch.OutOfMemoryError": _memory,
    "builtins.RuntimeError": _of_torch,
    "builtins.EOFError": _damaged,
    "_pickle.UnpicklingError": _damaged,
    "json.decoder.JSONDecodeError": _damaged,
    "safetensors._safetensors_rust.SafetensorError": _damaged,
    "safetensors_rust.SafetensorError": _damaged,
    "soundfile.LibsndfileError": _damaged,
    "yaml.error.YAMLError": _damaged,
    "zipfile.BadZipFile": _damaged,
    "zlib.error": _damaged,
}
"""Sentences for classes of errors, by qualified name so that nothing is imported; the most derived class is used."""

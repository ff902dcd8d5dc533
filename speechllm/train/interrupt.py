"""Signals that end a training after the current optimizer step."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from speechllm.train.ranks import sum_over_ranks

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; end or preemption of a job; warning of Slurm before the end of a job (``sbatch --signal=USR1@120``)."""
REPEATED = 1.0
"""Signals within this time after the first (seconds) are copies of it, sent by launchers and shells."""


class Interrupted(Exception):  # noqa: N818
    """The training ends at this point, on all ranks."""


class StopRequest:
    """Record of the first signal that this process has received."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._since = 0.0

    def agreed(self) -> signal.Signals | None:
        """Return the signal that any rank has received; call it on every rank."""
        counts = sum_over_ranks(*(float(self._received is one) for one in SIGNALS))
        return next((one for one, count in zip(SIGNALS, counts, strict=True) if count), None)

    def check(self) -> None:
        """Raise Interrupted on all ranks if any rank has received a signal; call it on every rank."""
        if self.agreed() is not None:
            raise Interrupted

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Record the first signal; end the process on a second one."""
        if self._received is None:
            self._received, self._since = signal.Signals(number), time.monotonic()
            _say(f"{self._received.name}: training stops after this optimizer step; a second signal stops it at once")
        elif time.monotonic() - self._since > REPEATED:
            _say(f"{signal.Signals(number).name}: stopped at once, without a checkpoint of this step")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Yield a StopRequest that handles signals for the duration of the block.

    Ignored signals remain ignored. Outside the main thread, signal handlers are not changed.
    """
    request = StopRequest()
    handled = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        handled = []
    previous = {one: signal.signal(one, request.handle) for one in handled}
    try:
        yield request
    finally:
        for one, handler in previous.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


def _say(text: str) -> None:
    """Write a line to standard error on rank 0 with one system call, because it may interrupt another print."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):  # the signal may have ended the reader of a pipe, too
            os.write(2, f"\nspeechllm train: {text}\n".encode())

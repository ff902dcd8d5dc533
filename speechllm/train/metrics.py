"""Metrics of a training: metrics.jsonl, loggers such as TensorBoard, plots as PNG and a progress bar."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from speechllm.atomic import new_file
from speechllm.train.loggers import open_loggers
from speechllm.train.system import SystemMetrics


class Metrics:
    """Log of one training, on rank 0 only.

    Args:
        exp_dir: directory of the experiment.
        step: number of completed steps; values that a killed run has logged after it are dropped.
        max_steps: length of the progress bar.
        loggers: ``train.loggers``.
    """

    def __init__(self, exp_dir: Path, step: int, max_steps: int, loggers: Sequence[str] = ("tensorboard",)) -> None:
        self.path = exp_dir / "metrics.jsonl"
        self.images = exp_dir / "images"
        rows = [row for row in read_metrics(self.path) if row["step"] <= step]
        with new_file(self.path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self._loggers = open_loggers(loggers, exp_dir, step)
        self._system = SystemMetrics()
        self._bar = tqdm(
            total=max_steps, initial=step, unit="step", desc="train", dynamic_ncols=True, file=_Open(sys.stderr)
        )

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close all logs and the progress bar, so that an error starts on a new line."""
        for logger in self._loggers:
            logger.close()
        self._bar.close()

    def log(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Append one row; ``kind`` is train or valid. Rows of train go to the loggers with values of the system."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        numbers = {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, int | float)}
        if kind == "train":
            numbers |= {f"system/{name}": value for name, value in self._system.take().items()}
        for logger in self._loggers:
            logger.log(step, numbers)

    def advance(self) -> None:
        """Move the progress bar by one step."""
        self._bar.update()

    def show(self, text: str) -> None:
        """Show ``text`` beside the progress bar."""
        self._bar.set_postfix_str(text, refresh=False)

    def say(self, text: str) -> None:
        """Print a line without breaking the progress bar."""
        tqdm.write(text, file=_Open(sys.stdout))

    def plot(self) -> None:
        """Draw loss and accuracy against steps to images/*.png."""
        from matplotlib.figure import Figure

        self.images.mkdir(exist_ok=True)
        rows = read_metrics(self.path)
        for name, label in (("loss", "nats per token"), ("accuracy", "token accuracy")):
            figure = Figure(figsize=(7, 4))
            axes = figure.subplots()
            for kind, key in (
                ("train", f"ctc_{name}"),
                ("train", name),
                ("valid", f"ctc_{name}"),
                ("valid", name),
                ("valid", f"shuffled_{name}"),
            ):
                points = [(row["step"], row[key]) for row in rows if row["kind"] == kind and key in row]
                if points:
                    axes.plot(*zip(*points, strict=True), ".-", label=f"{kind} {key.replace('_', ' ')}")
            axes.set(xlabel="step", ylabel=label)
            axes.grid(alpha=0.3)
            if axes.get_lines():
                axes.legend()
            figure.tight_layout()
            figure.savefig(self.images / f"{name}.png", dpi=120)


class _Open:
    """Stream that ignores a closed pipe, so that a checkpoint is saved if Ctrl-C also ends the reader of the output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Write ``text``."""
        with suppress(BrokenPipeError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with suppress(BrokenPipeError):
            self._stream.flush()

    def fileno(self) -> int:
        """Return the file descriptor, which tqdm needs for the width of the terminal."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl; an incomplete last line is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows

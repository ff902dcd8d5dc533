"""Loggers of a training: TensorBoard, and the optional packages wandb and trackio."""

import importlib
import importlib.util
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml
from torch.utils.tensorboard import SummaryWriter

from speechllm.atomic import new_file
from speechllm.errors import ConfigError


class Logger(Protocol):
    """A log of the values of a training, in addition to metrics.jsonl."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of one step, with names such as ``train/loss``."""
        ...

    def close(self) -> None:
        """Flush and close the log."""
        ...


def check_loggers(names: Sequence[str]) -> None:
    """Check that the packages of loggers are installed.

    Raises:
        ConfigError: if a package is not installed.
    """
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # without origin, it is a folder in the working directory
            raise ConfigError(
                f"train.loggers: found {name!r}, but the package {name} is not installed; "
                f"pip install 'speechllm[{name}]', or leave {name} out"
            )


def open_loggers(names: Sequence[str], exp_dir: Path, step: int) -> list[Logger]:
    """Open loggers that continue the earlier runs of the experiment.

    Args:
        names: ``train.loggers``.
        exp_dir: the experiment, with its config.yaml.
        step: number of completed steps.
    """
    path = exp_dir / "run_id"
    if step == 0 or not path.is_file():
        with new_file(path) as temporary:
            temporary.write_text(f"{exp_dir.name}-{uuid.uuid4().hex[:8]}\n", encoding="utf-8")
    run_id = path.read_text(encoding="utf-8").strip()
    return [_TensorBoard(exp_dir, step) if name == "tensorboard" else _Run(name, exp_dir, run_id) for name in names]


class _TensorBoard:
    """Logger to ``tensorboard`` in the experiment; values of an earlier run after ``step`` are dropped."""

    def __init__(self, exp_dir: Path, step: int) -> None:
        self._writer = SummaryWriter(str(exp_dir / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Run:
    """Logger to a run of wandb or trackio, which have the same interface here.

    The name of the project is the environment variable ``WANDB_PROJECT``, or ``speechllm``.

    Args:
        name: name of the package.
        exp_dir: the experiment.
        run_id: id of the run, stored in the experiment, so that a resumed training continues the run.
    """

    def __init__(self, name: str, exp_dir: Path, run_id: str) -> None:
        self._package: Any = importlib.import_module(name)
        options = {"id": run_id, "dir": str(exp_dir)} if name == "wandb" else {}
        self._package.init(
            project=os.environ.get("WANDB_PROJECT", "speechllm"),
            name=exp_dir.name if name == "wandb" else run_id,  # trackio identifies runs by their names
            config=yaml.safe_load((exp_dir / "config.yaml").read_text(encoding="utf-8")),
            resume="allow",
            **options,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._package.log(dict(values), step=step)

    def close(self) -> None:
        self._package.finish()

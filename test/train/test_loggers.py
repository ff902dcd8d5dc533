"""Loggers: values and settings that they get, and runs that go on, with stand-ins for the optional packages."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechllm import config as configs
from speechllm.errors import ConfigError
from speechllm.train.config import TrainConfig
from speechllm.train.loggers import check_loggers
from speechllm.train.metrics import Metrics, read_metrics

STAND_IN = """
calls = []


def init(**options):
    calls.append(("init", options))


def log(values, step=None):
    calls.append(("log", step, values))


def finish():
    calls.append(("finish",))
"""


@pytest.fixture
def exp_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "exp/toy"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 1, "train": {"lr": 0.1}}))
    return folder


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put modules that record their calls where wandb and trackio are imported from."""
    for name in ("wandb", "trackio"):
        (tmp_path / f"{name}.py").write_text(STAND_IN)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)


def train(exp_dir: Path, loggers: tuple[str, ...], steps: range) -> None:
    with Metrics(exp_dir, steps.start - 1, 9, loggers) as metrics:
        for step in steps:
            metrics.log("train", step, {"loss": 1 / step, "note": "no number"})
        metrics.log("valid", steps.stop - 1, {"loss": 0.5})


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_package_is_given_config_metrics_and_use_of_the_machine(exp_dir: Path, name: str) -> None:
    check_loggers([name, "tensorboard"])
    train(exp_dir, (name,), range(1, 3))
    train(exp_dir, (name,), range(3, 4))
    calls = importlib.import_module(name).calls
    assert [call[0] for call in calls] == ["init", "log", "log", "log", "finish", "init", "log", "log", "finish"]
    first, again = calls[0][1], calls[5][1]
    assert first == again  # the resumed training goes on with the run
    assert (first["project"], first["resume"]) == ("speechllm", "allow")
    assert first["config"] == {"seed": 1, "train": {"lr": 0.1}}
    assert (first["id"] if name == "wandb" else first["name"]).startswith("toy-")
    assert [(call[1], call[2].get("train/loss")) for call in calls[1:3]] == [(1, 1.0), (2, 0.5)]
    values = calls[1][2]
    assert 0 <= values["system/cpu_percent"] <= 100
    assert values["system/process_memory_gib"] > 0.01
    assert 0 < values["system/memory_percent"] < 100
    assert "train/note" not in values
    assert calls[3] == ("log", 2, {"valid/loss": 0.5})
    assert not (exp_dir / "tensorboard").exists()
    train(exp_dir, (name,), range(1, 2))  # from the beginning: another run
    assert calls[9][1] != first


@pytest.mark.usefixtures("packages")
def test_the_project_is_that_of_the_environment(exp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    train(exp_dir, ("wandb", "trackio"), range(1, 2))
    ids = [importlib.import_module(name).calls[0][1][key] for name, key in (("wandb", "id"), ("trackio", "name"))]
    assert ids[0] == ids[1]
    assert importlib.import_module("wandb").calls[0][1]["project"] == "mine"


def test_tensorboard_is_the_default_and_drops_what_is_done_again(exp_dir: Path) -> None:
    assert TrainConfig().loggers == ("tensorboard",)
    train(exp_dir, TrainConfig().loggers, range(1, 4))
    train(exp_dir, TrainConfig().loggers, range(3, 5))
    board = EventAccumulator(str(exp_dir / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2, 3, 4]
    assert "system/cpu_percent" in board.Tags()["scalars"]
    rows = read_metrics(exp_dir / "metrics.jsonl")
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4]
    assert json.dumps(rows).count("system") == 0


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_missing_package_is_an_error_before_anything_is_built(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()  # results of an earlier run, which Python takes for a package
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(one for one in sys.path if "site-packages" not in one)])
    monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match=rf"train.loggers: found '{name}', but .* pip install 'speechllm\[{name}\]'"):
        check_loggers(("tensorboard", name))


def test_other_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="loggers"):
        configs.build(TrainConfig, {"loggers": ["tensorbord"]})

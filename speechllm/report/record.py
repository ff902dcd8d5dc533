"""The record of an experiment's results: scores, commands, commits, versions and hardware, in one JSON file.

Scoring writes ``record.json`` into the experiment; a copy in ``egs/<recipe>/results`` is the source of the tables of
``RESULTS.md``, see ``speechllm.report.result_tables``.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from speechllm.errors import DataError
from speechllm.report.runs import read_runs
from speechllm.report.set_score import SetScore, known_entries, set_score
from speechllm.report.tables import collect
from speechllm.score.directory import write_whole

RESULTS_RECORD = "record.json"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Results of an experiment, and the runs that led to them."""

    config: str = ""
    """YAML of the experiment."""
    command: str = ""
    """Command that the user typed."""
    training: Mapping[str, str] = field(default_factory=dict)
    """Entries of the training's ``run.yaml``, such as date, commit, versions and hardware."""
    decoding: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of each set, the entries that differ from those of the training."""
    cells: Mapping[str, str] = field(default_factory=dict)
    """Cells of tables by the head of their column, written by hand."""
    scores: Mapping[str, SetScore] = field(default_factory=dict)
    """Scores of each set."""


def record_of(exp: Path, command: str) -> Record:
    """Return the record of a scored experiment.

    Args:
        exp: experiment directory.
        command: command that the user typed, "" if it is not known.
    """
    runs = read_runs(exp)
    words = shlex.split(runs.training.get("command", ""))
    config = words[words.index("--config") + 1] if "--config" in words[:-1] else ""
    return Record(
        config=config,
        command=command,
        training=runs.training,
        decoding={name: runs.changed(name) for name in runs.decoding},
        scores=scores_of(exp),
    )


def scores_of(exp: Path) -> dict[str, SetScore]:
    """Return the score of each scored set of an experiment, of languages without spaces by characters."""
    scores = {name: set_score(one, characters=one.unit == "character") for name, one in collect(exp).items()}
    return {name: score for name, score in scores.items() if score is not None}


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON, with one line for each set.

    Raises:
        DataError: if the file cannot be written.
    """
    tree = {name: value for name, value in asdict(record).items() if value}
    if record.scores:
        tree["scores"] = {name: known_entries(score) for name, score in record.scores.items()}
    write_whole(path, "{\n" + ",\n".join(f" {_json(name)}: {_lines(value)}" for name, value in tree.items()) + "\n}\n")


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        DataError: if the file is no record.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        scores = {name: _score(entries) for name, entries in tree.pop("scores", {}).items()}
        return Record(scores=scores, **tree)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: found no record of results ({error}), expected JSON; write or restore it") from error


def add_record(exp: Path, folder: Path) -> Path:
    """Copy the record of an experiment to ``folder/<experiment>.json``, with the cells of the file that is there.

    Returns:
        The file.

    Raises:
        DataError: if the experiment has no record.
    """
    record, path = read_record(exp / RESULTS_RECORD), folder / f"{exp.resolve().name}.json"
    write_record(path, replace(record, cells=read_record(path).cells) if path.exists() else record)
    return path


def _score(entries: Mapping[str, Any]) -> SetScore:
    score = SetScore(**entries)
    return score if score.interval is None else replace(score, interval=(score.interval[0], score.interval[1]))


def _lines(value: Any) -> str:
    """Return JSON, of a mapping one line for each entry."""
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"  {_json(name)}: {_json(one)}" for name, one in value.items()) + "\n }"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Provenance of tables: commands, commits and versions of training and decoding, from ``run.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from speechllm.errors import DataError
from speechllm.provenance import run_record

RECORD = "run.yaml"


def read_run(path: Path) -> dict[str, str]:
    """Return the entries of a ``run.yaml``, including versions, as text.

    Raises:
        DataError: if the file cannot be read or is not a YAML mapping.
    """
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read ({reason}), expected a YAML mapping; restore or remove it") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: found {type(record).__name__}, expected a YAML mapping; restore or remove it")
    return _entries(record)


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Entries of the ``run.yaml`` of an experiment's training and decodings; empty where there is none."""

    training: Mapping[str, str]
    decoding: Mapping[str, Mapping[str, str]]
    """By name of the decoded set."""

    def changed(self, name: str) -> dict[str, str]:
        """Return the entries of a decoding that differ from those of the training."""
        return {key: value for key, value in self.decoding[name].items() if self.training.get(key) != value}


def read_runs(exp: Path) -> Runs:
    """Return the runs of an experiment directory."""
    return Runs(
        training=read_run(exp / RECORD) if (exp / RECORD).exists() else {},
        decoding={path.parent.name: read_run(path) for path in sorted((exp / "decode").glob(f"*/{RECORD}"))},
    )


def describe_runs(exp: Path, command: str) -> str:
    """Return Markdown with the command as typed, the training run, and each decoding run.

    Args:
        exp: experiment directory; without ``run.yaml``, the environment of this process is listed instead.
        command: command as typed; "" if unknown.
    """
    parts = [f"### Command\n\n```sh\n{command}\n```\n"] if command else []
    runs = read_runs(exp)
    if runs.training:
        parts.append(f"### Training run\n\n{_list(runs.training)}")
    elif not runs.decoding:
        record = {name: value for name, value in run_record().items() if name != "command"}
        parts.append(f"### Scoring run\n\nNo {RECORD} of training or decoding was found.\n\n{_list(_entries(record))}")
    if runs.decoding:
        lines = (f"- {name}: {_line(runs.changed(name))}\n" for name in runs.decoding)
        parts.append(f"### Decoding runs\n\n{''.join(lines)}")
    return "\n".join(parts)


def environment_of(exp: Path) -> dict[str, str]:
    """Return versions, date and commit of the training run, or of this process without a record."""
    entries = read_run(exp / RECORD) if (exp / RECORD).exists() else _entries(run_record())
    entries.pop("command", None)
    return entries


def _entries(record: Mapping[str, object]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in record.items():
        if name == "versions" and isinstance(value, dict):
            found.update({package: str(version) for package, version in value.items()})
        elif isinstance(value, dict):
            found[name] = ", ".join(f"{key} {number}" for key, number in value.items())
        else:
            found["git hash" if name == "git" else str(name)] = str(value)
    return found


def _list(entries: Mapping[str, str]) -> str:
    return "".join(f"- {name}: `{value}`\n" for name, value in entries.items())


def _line(entries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} `{value}`" for name, value in entries.items())

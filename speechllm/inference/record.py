"""Record of a decoding, ``run.yaml`` in the directory of its hypotheses: command, commit, versions, language."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from speechllm.atomic import new_file
from speechllm.errors import DataError
from speechllm.provenance import run_record


def write_job_record(out_dir: Path, job: int, details: Mapping[str, Any]) -> None:
    """Write ``run.JOB.yaml``: command, commit and versions of one job.

    Args:
        out_dir: directory of the hypotheses.
        job: number of the job, from 1.
        details: further entries; ``detected`` is the number of utterances by detected language, ``batch_size`` the size
            of the largest batch.
    """
    _write(out_dir / f"run.{job}.yaml", {**run_record(), **details})


def merge_job_records(out_dir: Path, nj: int, details: Mapping[str, Any]) -> None:
    """Write ``run.yaml`` from the records of ``nj`` jobs and the command of this process, if all jobs have records.

    Args:
        out_dir: directory of the hypotheses.
        nj: number of jobs.
        details: further entries about all jobs.
    """
    paths = [out_dir / f"run.{job}.yaml" for job in range(1, nj + 1)]
    if not all(path.exists() for path in paths):  # jobs of an earlier version
        return
    records = [_read(path) for path in paths]
    detected: Counter[str] = Counter()
    for record in records:
        detected.update(record.pop("detected", {}))
    merged = {**records[0], "command": run_record()["command"], **details}
    if sizes := [record["batch_size"] for record in records if "batch_size" in record]:
        merged["batch_size"] = max(sizes)
    if detected:
        merged["detected"] = dict(detected.most_common())
    _write(out_dir / "run.yaml", merged)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    with new_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({error}), expected a YAML mapping; decode this set again") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: found {type(record).__name__}, expected a YAML mapping; decode this set again")
    return record

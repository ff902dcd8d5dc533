"""Decode a set in jobs with a share of the utterances each, and merge their results."""

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from speechllm.atomic import new_file
from speechllm.data.kaldi.data_dir import write_table
from speechllm.data.sampler import by_duration
from speechllm.errors import DataError
from speechllm.inference.record import merge_job_records, write_job_record
from speechllm.inference.word_ctm import write_words
from speechllm.interfaces import Hypothesis, Seconds, TimedWord

Recognize: TypeAlias = Callable[[list[str]], list[list[Hypothesis]]]


@dataclass(frozen=True)
class Loaded:
    """Functions of a loaded model for decoding."""

    recognize: Recognize
    """Function from utterance ids to the n-best hypotheses of each, best first."""
    batches: Callable[[dict[str, Seconds]], Iterable[list[str]]]
    """Function from durations of utterances to batches of their ids."""
    details: Callable[[], dict[str, Any]] = dict
    """Function that returns further entries for the record of the last job."""


def decode_jobs(
    load: Callable[[], Loaded],
    durations: Mapping[str, Seconds],
    out_dir: Path,
    *,
    nj: int,
    job: int | None,
    fingerprint: str,
) -> None:
    """Decode the share of one job; without ``job``, decode the shares of all incomplete jobs and merge the results.

    Args:
        load: function that loads the model; called at most once, and not if all jobs are complete.
        durations: duration of each utterance of the set (seconds).
        out_dir: directory of the results.
        nj: number of jobs.
        job: number of the job, from 1.
        fingerprint: see ``decode_job``.
    """
    loaded = functools.cache(load)
    for number in range(1, nj + 1) if job is None else [job]:
        mine = share(durations, nj, number)
        if not finished_job(out_dir, number, list(mine), fingerprint):
            model = loaded()
            batches = list(model.batches(mine)) if mine else []
            decode_job(model.recognize, batches, durations, out_dir, number, fingerprint)
            largest = max(map(len, batches), default=0)
            write_job_record(out_dir, number, {**model.details(), "batch_size": largest})
        elif job is not None:
            print(f"{out_dir}: job {job} of {nj} is complete, nothing to do")
    if job is None:
        print(merge_jobs(out_dir, durations, nj))


def share(durations: Mapping[str, Seconds], nj: int, job: int) -> dict[str, Seconds]:
    """Return the utterances of a job: every nj-th in order of duration, so that the jobs take similar times."""
    return {utt_id: durations[utt_id] for utt_id in by_duration(durations)[job - 1 :: nj]}


def decode_job(
    recognize: Recognize,
    batches: Iterable[list[str]],
    durations: Mapping[str, Seconds],
    out_dir: Path,
    job: int,
    fingerprint: str,
) -> None:
    """Decode the share of one job and write ``nbest.JOB.jsonl``, completely or not at all.

    Args:
        recognize: function from utterance ids to the n-best hypotheses of each, best first.
        batches: utterance ids of the job.
        durations: duration of each utterance (seconds).
        out_dir: directory of the results.
        job: number of the job, from 1.
        fingerprint: fingerprint of model, options and data, written to each line to detect outdated shares.
    """
    with new_file(out_dir / f"nbest.{job}.jsonl") as path, path.open("w", encoding="utf-8") as file:
        for utt_ids in tqdm(list(batches), desc=f"decode, job {job}", unit="batch", dynamic_ncols=True):
            start = time.perf_counter()
            results = recognize(utt_ids)
            seconds = (time.perf_counter() - start) / len(results)
            for utt_id, nbest in zip(utt_ids, results, strict=True):
                row = {"utt_id": utt_id, "duration": durations[utt_id], "seconds": seconds, "fingerprint": fingerprint}
                file.write(json.dumps({**row, "nbest": [asdict(one) for one in nbest]}, ensure_ascii=False) + "\n")


def finished_job(out_dir: Path, job: int, utt_ids: Sequence[str], fingerprint: str) -> bool:
    """Return whether ``job`` has decoded exactly these utterances with the same model and options."""
    path = out_dir / f"nbest.{job}.jsonl"
    if not path.exists():
        return False
    rows = _read(path)
    return {row["utt_id"] for row in rows} == set(utt_ids) and _fingerprints(rows) <= {fingerprint}


def merge_jobs(out_dir: Path, utt_ids: Iterable[str], nj: int) -> str:
    """Merge the shares of ``nj`` jobs; return a sentence with the counts.

    The files are ``text``, ``nbest.jsonl``, ``truncated`` and, with word times, ``words.ctm``.

    Raises:
        DataError: if an utterance does not have exactly one hypothesis, or the shares have different fingerprints.
    """
    rows: dict[str, dict[str, Any]] = {}
    for job in range(1, nj + 1):
        path = out_dir / f"nbest.{job}.jsonl"
        if not path.exists():
            raise DataError(
                f"{path}: no such file, expected the result of job {job} of {nj}; run the decoding stage again"
            )
        for row in _read(path):
            if row["utt_id"] in rows:
                raise DataError(
                    f"{path}: found a second hypothesis of {row['utt_id']}; remove {out_dir} and decode again"
                )
            rows[row["utt_id"]] = row
    wanted = set(utt_ids)
    for kind, ids in (("without a hypothesis", wanted - rows.keys()), ("unknown", rows.keys() - wanted)):
        if ids:
            raise DataError(f"{out_dir}: {len(ids)} utterances {kind}: {', '.join(sorted(ids)[:5])} ...; decode again")
    if len(_fingerprints(rows.values())) > 1:
        raise DataError(f"{out_dir}: the jobs had different models or options; remove the folder and decode again")
    merge_job_records(out_dir, nj, _acceptance(rows.values()))
    return _write(out_dir, [rows[utt_id] for utt_id in sorted(rows, key=str.encode)])


def best_hypothesis(row: dict[str, Any]) -> Hypothesis:
    """Return the best hypothesis in a row of ``nbest.jsonl``; rows of earlier versions lack the key ``words``."""
    fields = dict(row["nbest"][0])
    words = [TimedWord(**word) for word in fields.pop("words", ())]
    return Hypothesis(words=words, **fields)


def _write(out_dir: Path, rows: list[dict[str, Any]]) -> str:
    best = {row["utt_id"]: best_hypothesis(row) for row in rows}
    truncated = [utt_id for utt_id, hypothesis in best.items() if hypothesis.truncated]
    with new_file(out_dir / "nbest.jsonl") as path:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    with new_file(out_dir / "truncated") as path:
        path.write_text("".join(f"{utt_id}\n" for utt_id in truncated), encoding="utf-8")
    write_table(out_dir / "text", {utt_id: hypothesis.text for utt_id, hypothesis in best.items()})
    untimed = write_words(out_dir, best)
    speech, seconds = sum(row["duration"] for row in rows), sum(row["seconds"] for row in rows)
    empty = sum(not hypothesis.text for hypothesis in best.values())
    return (
        f"{out_dir}: {len(rows)} utterances, {speech / 3600:.2f} h of speech decoded at a real-time factor of "
        f"{seconds / max(speech, 1e-9):.3f} per job; {empty} empty, {len(truncated)} reached max_new_tokens{untimed}"
        + "".join(
            f"; acceptance rate of drafted tokens {one['acceptance_rate']:.3f}" for one in _acceptance(rows).values()
        )
    )


def _acceptance(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the entry of speculative decoding for the record, if any: numbers of tokens, drafted and accepted tokens.

    Every accepted token saves a pass of the LLM.
    """
    best = [best_hypothesis(row) for row in rows]
    drafted, accepted = sum(one.drafted for one in best), sum(one.accepted for one in best)
    if not drafted:
        return {}
    counts = {"tokens": sum(one.num_tokens for one in best), "drafted": drafted, "accepted": accepted}
    return {"speculative_decoding": {**counts, "acceptance_rate": round(accepted / drafted, 4)}}


def _fingerprints(rows: Iterable[dict[str, Any]]) -> set[str]:
    return {row["fingerprint"] for row in rows}


def _read(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{"fingerprint": row.pop("identity", ""), **row} for row in rows]  # earlier versions: identity

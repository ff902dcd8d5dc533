"""Dumps of features or encoder states of a data directory, computed once by ``nj`` independent jobs.

    feats.JOB.ark  feats.JOB.scp  utt2num_frames.JOB   matrices of one job, their offsets and lengths
    feats.JOB.yaml                                     fingerprints of tables, audio files and frontend;
                                                       written last: a shard without it is unfinished
    utt2num_frames  frontend.yaml  feats.scp           merged tables of all jobs, and their fingerprint
    text  utt2spk  spk2utt  utt2dur  context  language  copied from the data directory
    feats.yaml                                         as for a shard; written last of all

Features are Kaldi matrices, compressed (16 bits per value) or float32; float16 states are numpy arrays in
the ark, because Kaldi has no float16 matrices.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import kaldiio
import numpy as np
from tqdm import tqdm

from speechllm.atomic import new_file, remove_abandoned
from speechllm.data.audio.read import open_audio
from speechllm.data.dump_record import check_fingerprint, describe, is_there, read_record, write_record
from speechllm.data.kaldi.contents import (
    Contents,
    add_fingerprints,
    audio_fingerprint,
    fingerprint_utts,
    read_contents,
    speech,
)
from speechllm.data.kaldi.data_dir import Utterance, iter_table, write_table
from speechllm.data.kaldi.target import LANGUAGE
from speechllm.errors import ConfigError, DataError
from speechllm.lock import exclusive_lock

__all__ = ["check_fingerprint", "dump_job", "finished_job", "merge_dump", "read_contents"]

Extract = Callable[[np.ndarray], np.ndarray]
"""Maps samples_N to feats_TF (float32) or states_LD (float16)."""

COPIED = ("text", "utt2spk", "spk2utt", "utt2dur", "context", LANGUAGE)
KALDI_16_BIT = 3  # compression method: one scale for each matrix


def dump_job(
    data_dir: str | Path,
    out_dir: str | Path,
    extract: Extract,
    fingerprint: dict[str, Any],
    sample_rate: int,
    nj: int,
    job: int,
    compress: bool,
    files: str = "",
) -> None:
    """Dump the utterances of one job, unless its shard is complete.

    An earlier dump is kept until the new shard is complete.

    Args:
        data_dir: Kaldi data directory.
        out_dir: dump directory; paths in its scp files begin with it as given.
        extract: function from samples_N to feats_TF (float32) or states_LD (float16).
        fingerprint: settings that a dump and its model share, see ``check_fingerprint``.
        sample_rate: sampling rate of the argument of ``extract`` (Hz).
        nj: number of jobs.
        job: number of this job, from 1.
        compress: whether to store float32 matrices in 16 bits.
        files: fingerprint of the encoder's files, for ``finished_job``.

    Raises:
        LockedError: if another process runs the same job.
        ConfigError: if ``job`` is not 1 to ``nj``.
        DataError: if audio cannot be read; it names every such utterance, and no shard is written.
    """
    check_job(nj, job)
    out_dir = Path(out_dir)
    contents = read_contents(data_dir)
    if _is_finished(contents, out_dir, fingerprint, nj, job, compress):
        return
    with exclusive_lock(out_dir / f".feats.{job}.lock", f"job {job} of the dump {out_dir}"):
        share = contents.share(nj, job)
        audio = audio_fingerprint(contents.share_files(nj, job))
        record = describe(fingerprint_utts(share), fingerprint, compress) | {
            "audio": audio,
            "jobs": nj,
            "encoder_files": files,
        }
        size = _write_shard(out_dir, share, extract, sample_rate, nj, job, compress)
        write_record(out_dir / f"feats.{job}.yaml", {**record, "bytes": size})
    where = f"{out_dir}: job {job} of {nj}"
    if share:
        seconds = sum(utt.duration for utt in share)
        print(f"{where}: {len(share)} utterances, {speech(seconds)}, {size / 1e6:.1f} MB", flush=True)
    else:
        print(f"{where}: nothing to do, the {contents.num_utts} utterances are distributed over fewer jobs", flush=True)


def check_job(nj: int, job: int) -> None:
    """Check the number of a job.

    Raises:
        ConfigError: if it is not 1 to ``nj``.
    """
    if not 1 <= job <= nj:
        raise ConfigError(f"job: found {job} of {nj} jobs, expected 1 to the number of jobs, and at least one job")


def finished_job(data_dir: str | Path, out_dir: str | Path, files: str, nj: int, job: int, compress: bool) -> bool:
    """Return whether a job was finished earlier with the same encoder files, and print a message if so.

    Args:
        data_dir: Kaldi data directory.
        out_dir: dump directory.
        files: fingerprint of the encoder's configuration and files, for ``dump_job``; empty: unknown.
        nj: number of jobs.
        job: number of the job, from 1.
        compress: as for ``dump_job``.
    """
    check_job(nj, job)
    for stem in ("feats", f"feats.{job}"):
        record = read_record(Path(out_dir) / f"{stem}.yaml")
        if files and record is not None and record.get("encoder_files") == files:
            return _is_finished(read_contents(data_dir), Path(out_dir), record["fingerprint"], nj, job, compress)
    return False


def _is_finished(
    contents: Contents, out_dir: Path, fingerprint: dict[str, Any], nj: int, job: int, compress: bool
) -> bool:
    """Return whether the dump or the shard is complete and its audio unchanged, and print a message if so."""
    where = f"{out_dir}: job {job} of {nj}"
    whole, shard = (read_record(out_dir / f"{stem}.yaml") for stem in ("feats", f"feats.{job}"))
    if whole is not None and is_there(out_dir, "feats", describe(contents.fingerprint, fingerprint, compress)):
        if shard is not None and shard.get("jobs") == nj:  # each job checks the audio of its own shard
            same = shard.get("audio") == audio_fingerprint(contents.share_files(nj, job))
        else:
            same = whole.get("audio") == audio_fingerprint(contents.files)
        if same:
            print(f"{where}: the whole dump is complete, nothing to do", flush=True)
            return True
    if shard is None:
        return False
    share = contents.share(nj, job)
    audio = audio_fingerprint(contents.share_files(nj, job))
    if not is_there(
        out_dir, f"feats.{job}", describe(fingerprint_utts(share), fingerprint, compress) | {"audio": audio}
    ):
        return False
    print(f"{where}: finished earlier ({len(share)} utterances), kept", flush=True)
    return True


def merge_dump(data_dir: str | Path, out_dir: str | Path, nj: int) -> None:
    """Merge the shards of ``nj`` jobs, after checking that they hold every utterance exactly once.

    Raises:
        DataError: if a job has not finished, or its shard was made from other utterances, with another
            number of jobs or with another frontend.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    contents = read_contents(data_dir)
    merged = read_record(out_dir / "feats.yaml")
    if merged is not None and is_there(out_dir, "feats", {**merged, "utterances": contents.fingerprint}):
        _copy_tables(data_dir, out_dir)
        print(f"{out_dir}: complete ({contents}), kept", flush=True)
        return
    shards = _read_shards(out_dir, contents, nj)
    _remove_shards_above(out_dir, nj)
    _copy_tables(data_dir, out_dir)
    _join(out_dir, "utt2num_frames", "utt2num_frames.{}", nj)
    write_record(out_dir / "frontend.yaml", shards[0]["fingerprint"])
    _join(out_dir, "feats.scp", "feats.{}.scp", nj)
    size = sum(shard["bytes"] for shard in shards)
    audio = add_fingerprints(shard["audio"] for shard in shards)
    whole = {**shards[0], "utterances": contents.fingerprint, "audio": audio, "bytes": size}
    write_record(out_dir / "feats.yaml", whole)
    print(f"{out_dir}: {contents}, {size / 1e6:.1f} MB", flush=True)


def _write_shard(
    out_dir: Path, share: list[Utterance], extract: Extract, sample_rate: int, nj: int, job: int, compress: bool
) -> int:
    """Write ark, scp and utt2num_frames of one job; return the size of the ark (bytes)."""
    ark_path = out_dir / f"feats.{job}.ark"
    remove_abandoned(out_dir)
    scp, num_frames, bad = {}, {}, []
    with new_file(ark_path) as temporary, temporary.open("wb") as ark:
        for utt, samples in tqdm(_read(share, sample_rate), f"dump {job}/{nj}", len(share), unit="utt"):
            if isinstance(samples, DataError):
                bad.append(f"{utt.utt_id}: {samples}")
            elif not bad:  # after an error, audio is still read to find all errors
                matrix = extract(samples)
                offset = _append(ark, utt.utt_id, matrix, compress)
                scp[utt.utt_id] = f"{ark_path}:{offset}"
                num_frames[utt.utt_id] = str(len(matrix))
        if bad:
            raise DataError(
                f"{out_dir}: job {job} of {nj}: {len(bad)} of {len(share)} utterances cannot be read, nothing was "
                "written; repair them or remove them from the data directory:\n  " + "\n  ".join(bad)
            )
        ark.close()  # a disk error is raised before the earlier dump is replaced
        for name in ("feats.yaml", "feats.scp", "frontend.yaml", f"feats.{job}.yaml"):
            (out_dir / name).unlink(missing_ok=True)
    write_table(out_dir / f"feats.{job}.scp", scp)
    write_table(out_dir / f"utt2num_frames.{job}", num_frames)
    return ark_path.stat().st_size


def _read(share: Iterable[Utterance], sample_rate: int) -> Iterator[tuple[Utterance, np.ndarray | DataError]]:
    """Yield the utterances with their samples or errors; each file is opened once."""
    for path, utts in itertools.groupby(share, lambda utt: utt.path):
        left = list(utts)
        try:
            with open_audio(path, sample_rate) as read:
                while left:
                    try:
                        samples: np.ndarray | DataError = read(left[0].start, left[0].end)
                    except DataError as error:
                        samples = error
                    yield left.pop(0), samples
        except DataError as error:  # the file cannot be opened
            yield from ((utt, error) for utt in left)


def _append(ark: BinaryIO, utt_id: str, matrix: np.ndarray, compress: bool) -> int:
    """Write one matrix; return its offset for reading."""
    assert np.isfinite(matrix).all(), f"{utt_id}: values that are not finite in {matrix.dtype}"
    offset = ark.tell() + len(f"{utt_id} ".encode())
    if matrix.dtype == np.float16:
        kaldiio.save_ark(ark, {utt_id: matrix}, write_function="numpy")
    else:
        assert matrix.dtype == np.float32, matrix.dtype
        kaldiio.save_ark(ark, {utt_id: matrix}, compression_method=KALDI_16_BIT if compress else None)
    return offset


def _read_shards(out_dir: Path, contents: Contents, nj: int) -> list[dict[str, Any]]:
    """Return the descriptions of all shards, after checking them against each other and against the data directory."""
    shards = []
    for job in range(1, nj + 1):
        where = f"{out_dir}: job {job} of {nj}"
        shard = read_record(out_dir / f"feats.{job}.yaml")
        if shard is None:
            raise DataError(f"{where}: not finished; see its log for the reason and run it again")
        share = contents.share(nj, job)
        if not is_there(out_dir, f"feats.{job}", {"utterances": fingerprint_utts(share)}):
            raise DataError(
                f"{where}: its shard holds {shard['utterances'].split()[0]} utterances, expected {len(share)} as now "
                "in the data directory (the number of jobs or the data changed); run the jobs again"
            )
        if shard.get("audio") != audio_fingerprint(contents.share_files(nj, job)):
            raise DataError(f"{where}: its audio files have changed since the run, expected the same; run it again")
        shards.append(shard)
        for key in ("fingerprint", "compress"):
            if shard[key] != shards[0][key]:
                raise DataError(
                    f"{where}: found {key} {shard[key]}, expected {shards[0][key]} as job 1 has; run it again"
                )
    return shards


def _join(out_dir: Path, name: str, of_job: str, nj: int) -> None:
    """Merge the tables of all jobs, sorted by utterance id; ``of_job`` is a file name with {} for the job.

    Raises:
        DataError: if the ids differ from those of the data directory.
    """
    tables = [iter_table(out_dir / of_job.format(job)) for job in range(1, nj + 1)]
    with new_file(out_dir / name) as temporary, temporary.open("w", encoding="utf-8") as file:
        joined = heapq.merge(*tables)
        for (utt, _), row in itertools.zip_longest(iter_table(out_dir / "utt2spk"), joined, fillvalue=("", "")):
            if row[0] != utt:
                raise DataError(
                    f"{out_dir}: found {row[0]!r} in {of_job.format('*')}, expected {utt!r} as in the data "
                    f"directory; delete {out_dir} and run stage 2 again"
                )
            file.write(f"{row[0]} {row[1]}\n")


def _remove_shards_above(out_dir: Path, nj: int) -> None:
    """Remove shards of an earlier dump in more jobs."""
    for path in out_dir.glob("feats.*.ark"):
        job = int(path.name.split(".")[1])
        if job > nj:
            print(f"{out_dir}: removed shard {job} of an earlier dump in more jobs", flush=True)
            for name in (f"feats.{job}.yaml", f"feats.{job}.scp", f"utt2num_frames.{job}", path.name):
                (out_dir / name).unlink(missing_ok=True)


def _copy_tables(data_dir: Path, out_dir: Path) -> None:
    for name in COPIED:
        if (data_dir / name).is_file():
            content = (data_dir / name).read_bytes()
            if not (out_dir / name).is_file() or (out_dir / name).read_bytes() != content:
                with new_file(out_dir / name) as temporary:
                    temporary.write_bytes(content)
        else:
            (out_dir / name).unlink(missing_ok=True)

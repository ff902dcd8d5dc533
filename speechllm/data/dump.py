"""Features, or encoder states, of a data directory: computed once, by ``nj`` jobs that know nothing of each other.

    feats.JOB.ark  feats.JOB.scp  utt2num_frames.JOB   one job's matrices, where each begins, how long it is
    feats.JOB.yaml                                     what they were made from; written last, so that a
                                                       shard without it is not finished
    utt2num_frames  frontend.yaml  feats.scp           all jobs together, and the identity of what made them
    text  utt2spk  spk2utt  utt2dur                    copied from the data directory
    feats.yaml                                         as for a shard; written last of all

Features are Kaldi matrices, compressed (16 bits a value) or float32; float16 states are numpy arrays in
the ark, because Kaldi knows no float16.
"""

import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import kaldiio
import numpy as np
import yaml
from tqdm import tqdm

from speechllm.atomic import new_file
from speechllm.data.audio import open_audio
from speechllm.data.data_dir import Utterance, iter_table, iter_utterances, write_table
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

Extract = Callable[[np.ndarray], np.ndarray]
"""samples_N to feats_TF (float32) or states_LD (float16)."""

COPIED = ("text", "utt2spk", "spk2utt", "utt2dur")
KALDI_16_BIT = 3  # compression method: one scale for a whole matrix


def dump_job(
    data_dir: str | Path,
    out_dir: str | Path,
    extract: Extract,
    identity: dict[str, Any],
    sample_rate: int,
    nj: int,
    job: int,
    compress: bool,
) -> None:
    """Dump one job's share of the utterances; a share that is already there is left alone.

    Args:
        data_dir: Kaldi data directory.
        out_dir: the dump; paths in its scp files begin with it as it is given here.
        extract: samples_N to feats_TF (float32) or states_LD (float16).
        identity: what made the dump, compared by ``check_identity`` with what a model expects.
        sample_rate: of the samples given to ``extract``, in Hz.
        nj: number of jobs.
        job: which one this is, from 1.
        compress: whether float32 matrices are stored in 16 bits.

    Raises:
        DataError: naming every utterance of the share whose audio cannot be read; nothing is written then.
    """
    assert 1 <= job <= nj
    out_dir = Path(out_dir)
    contents = read_contents(data_dir)
    where = f"{out_dir}: job {job} of {nj}"
    if _is_there(out_dir, "feats", _description(contents.fingerprint, identity, compress)):
        print(f"{where}: the whole dump is complete, nothing to do", flush=True)
        return
    share = contents.share(nj, job)
    description = _description(_fingerprint(share), identity, compress)
    if _is_there(out_dir, f"feats.{job}", description):
        print(f"{where}: finished earlier ({len(share)} utterances), left alone", flush=True)
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in ("feats.yaml", "feats.scp", "frontend.yaml", f"feats.{job}.yaml"):
        (out_dir / name).unlink(missing_ok=True)
    size = _write_shard(out_dir, share, extract, sample_rate, nj, job, compress)
    _write_yaml(out_dir / f"feats.{job}.yaml", {**description, "bytes": size})
    if share:
        seconds = sum(utt.duration for utt in share)
        print(f"{where}: {len(share)} utterances, {_speech(seconds)}, {size / 1e6:.1f} MB", flush=True)
    else:
        print(f"{where}: nothing to do, the {contents.num_utts} utterances are shared out among fewer jobs", flush=True)


def merge_dump(data_dir: str | Path, out_dir: str | Path, nj: int) -> None:
    """Join the shards of ``nj`` jobs, once every utterance is there exactly once.

    Raises:
        DataError: if a job has not finished, or its shard was made from other utterances, with another
            number of jobs or with another frontend.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    contents = read_contents(data_dir)
    merged = _read_yaml(out_dir / "feats.yaml")
    if merged is not None and _is_there(out_dir, "feats", {**merged, "utterances": contents.fingerprint}):
        _copy_tables(data_dir, out_dir)
        print(f"{out_dir}: complete ({contents}), left alone", flush=True)
        return
    shards = _read_shards(out_dir, contents, nj)
    _remove_shards_above(out_dir, nj)
    _copy_tables(data_dir, out_dir)
    _join(out_dir, "utt2num_frames", "utt2num_frames.{}", nj)
    _write_yaml(out_dir / "frontend.yaml", shards[0]["identity"])
    _join(out_dir, "feats.scp", "feats.{}.scp", nj)
    size = sum(shard["bytes"] for shard in shards)
    _write_yaml(out_dir / "feats.yaml", {**shards[0], "utterances": contents.fingerprint, "bytes": size})
    print(f"{out_dir}: {contents}, {size / 1e6:.1f} MB", flush=True)


def check_identity(dump_dir: str | Path, expected: dict[str, Any]) -> None:
    """Make sure that a dump was made as a model expects it.

    Raises:
        DataError: if it was not, naming every difference, or if there is no finished dump.
    """
    found = _read_yaml(Path(dump_dir) / "frontend.yaml")
    if found is None:
        raise DataError(f"{dump_dir}: no finished dump (frontend.yaml is missing); run stage 2")
    differences = _differences(found, _as_yaml(expected))
    if differences:
        raise DataError(
            f"{dump_dir}: dump made with another frontend than the encoder expects: {differences}; re-run stage 2"
        )


@dataclass(frozen=True)
class Contents:
    """What a data directory holds, without its utterances, of which there may be millions."""

    data_dir: Path
    fingerprint: str
    num_utts: int
    files: dict[str, Seconds]
    """Path to duration of all utterances in it, in the order in which they first occur."""

    def share(self, nj: int, job: int) -> list[Utterance]:
        """Return one of ``nj`` shares of about equal duration, from 1, without transcripts.

        All segments of a recording are in one share, one behind the other, where the recording first occurs;
        with few recordings some shares are empty.
        """
        total, done = sum(self.files.values()), 0.0
        segments: dict[str, list[Utterance]] = {}
        for path, duration in self.files.items():
            if min(int((done + duration / 2) / total * nj), nj - 1) == job - 1:
                segments[path] = []
            done += duration
        for utt in iter_utterances(self.data_dir, need_text=False, text=False):
            if str(utt.path) in segments:
                segments[str(utt.path)].append(utt)
        return list(itertools.chain.from_iterable(segments.values()))

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.num_utts} utterances, {_speech(sum(self.files.values()))}"


def read_contents(data_dir: str | Path) -> Contents:
    """Read a data directory once.

    Raises:
        DataError: as ``data_dir.read_data_dir``.
    """
    files: dict[str, Seconds] = {}

    def utterances() -> Iterator[Utterance]:
        for utt in iter_utterances(data_dir, need_text=False, text=False):
            files[str(utt.path)] = files.get(str(utt.path), 0.0) + utt.duration
            yield utt

    fingerprint = _fingerprint(utterances())
    return Contents(Path(data_dir), fingerprint, int(fingerprint.split()[0]), files)


def _write_shard(
    out_dir: Path, share: list[Utterance], extract: Extract, sample_rate: int, nj: int, job: int, compress: bool
) -> int:
    """Write ark, scp and utt2num_frames of one job; return the size of the ark in bytes."""
    ark_path = out_dir / f"feats.{job}.ark"
    for left in out_dir.glob(f".{ark_path.name}.*.tmp"):
        left.unlink()  # by a job that was killed
    scp, num_frames, bad = {}, {}, []
    with new_file(ark_path) as temporary, temporary.open("wb") as ark:
        for utt, samples in tqdm(_read(share, sample_rate), f"dump {job}/{nj}", len(share), unit="utt"):
            if isinstance(samples, DataError):
                bad.append(f"{utt.utt_id}: {samples}")
            elif not bad:  # otherwise the rest is only read, so that every bad utterance is named
                matrix = extract(samples)
                offset = _append(ark, utt.utt_id, matrix, compress)
                scp[utt.utt_id] = f"{ark_path}:{offset}"
                num_frames[utt.utt_id] = str(len(matrix))
        if bad:
            raise DataError(
                f"{out_dir}: job {job} of {nj}: {len(bad)} of {len(share)} utterances cannot be read, nothing was "
                "written; mend them or take them out of the data directory:\n  " + "\n  ".join(bad)
            )
    write_table(out_dir / f"feats.{job}.scp", scp)
    write_table(out_dir / f"utt2num_frames.{job}", num_frames)
    return ark_path.stat().st_size


def _read(share: Iterable[Utterance], sample_rate: int) -> Iterator[tuple[Utterance, np.ndarray | DataError]]:
    """Yield the utterances with their samples, or with what is wrong; each file is opened once."""
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
    """Write one matrix; return the offset at which it can be read."""
    assert np.isfinite(matrix).all(), f"{utt_id}: values that are not finite in {matrix.dtype}"
    offset = ark.tell() + len(f"{utt_id} ".encode())
    if matrix.dtype == np.float16:
        kaldiio.save_ark(ark, {utt_id: matrix}, write_function="numpy")
    else:
        assert matrix.dtype == np.float32, matrix.dtype
        kaldiio.save_ark(ark, {utt_id: matrix}, compression_method=KALDI_16_BIT if compress else None)
    return offset


def _description(fingerprint: str, identity: dict[str, Any], compress: bool) -> dict[str, Any]:
    """Return all that a shard, or the whole dump, was made from."""
    return {"identity": _as_yaml(identity), "compress": compress, "utterances": fingerprint}


def _fingerprint(utts: Iterable[Utterance]) -> str:
    digest, number = hashlib.sha256(), 0
    for number, utt in enumerate(utts, start=1):
        row = json.dumps((utt.utt_id, str(utt.path), utt.start, utt.end))
        digest.update(f"{'[' if number == 1 else ', '}{row}".encode())
    digest.update(b"]" if number else b"[]")
    return f"{number} {digest.hexdigest()[:16]}"


def _is_there(out_dir: Path, stem: str, description: dict[str, Any]) -> bool:
    """Whether the shard or dump called ``stem`` is finished, fits ``description`` and has kept its size."""
    found = _read_yaml(out_dir / f"{stem}.yaml")
    if found is None or any(found.get(key) != value for key, value in description.items()):
        return False
    arks = out_dir.glob("feats.*.ark" if stem == "feats" else f"{stem}.ark")
    return found["bytes"] == sum(path.stat().st_size for path in arks)


def _read_shards(out_dir: Path, contents: Contents, nj: int) -> list[dict[str, Any]]:
    """Return the descriptions of all shards, which agree with each other and with their shares."""
    shards = []
    for job in range(1, nj + 1):
        where = f"{out_dir}: job {job} of {nj}"
        shard = _read_yaml(out_dir / f"feats.{job}.yaml")
        if shard is None:
            raise DataError(f"{where}: not finished; see its log for the reason and run it again")
        share = contents.share(nj, job)
        if not _is_there(out_dir, f"feats.{job}", {"utterances": _fingerprint(share)}):
            raise DataError(
                f"{where}: its shard holds {shard['utterances'].split()[0]} utterances, expected {len(share)} as they "
                "are now in the data directory (another number of jobs, or data that changed); run the jobs again"
            )
        shards.append(shard)
        for key in ("identity", "compress"):
            if shard[key] != shards[0][key]:
                raise DataError(
                    f"{where}: found {key} {shard[key]}, expected {shards[0][key]} as job 1 has; run it again"
                )
    return shards


def _join(out_dir: Path, name: str, of_job: str, nj: int) -> None:
    """Write the tables of all jobs as one, sorted by utterance id; ``of_job`` has a place for the job.

    Raises:
        DataError: if the ids are not those of the data directory, copied before, each once.
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
    """Remove what an earlier dump in more jobs has left."""
    for path in out_dir.glob("feats.*.ark"):
        job = int(path.name.split(".")[1])
        if job > nj:
            print(f"{out_dir}: shard {job}, left by an earlier dump in more jobs, is removed", flush=True)
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


def _differences(found: dict[str, Any], expected: dict[str, Any]) -> str:
    flat, wanted = _flatten(found), _flatten(expected)
    keys = sorted(key for key in flat.keys() | wanted.keys() if flat.get(key) != wanted.get(key))
    return ", ".join(f"{key} found {flat.get(key)}, expected {wanted.get(key)}" for key in keys)


def _flatten(tree: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Return nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{where}{key}.") if isinstance(value, dict) else {f"{where}{key}": value}
    return flat


def _speech(seconds: Seconds) -> str:
    return f"{seconds:.0f} s of speech ({seconds / 3600:.2f} h)"


def _as_yaml(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` as it will be when it has been written and read: a tuple becomes a list."""
    return yaml.safe_load(yaml.safe_dump(content))


def _read_yaml(path: Path) -> dict[str, Any] | None:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    with new_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=True), encoding="utf-8")

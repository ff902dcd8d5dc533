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
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import kaldiio
import numpy as np
import yaml
from tqdm import tqdm

from speechllm.data.atomic import new_file
from speechllm.data.audio import open_audio
from speechllm.data.data_dir import Utterance, read_data_dir, read_table, write_table
from speechllm.errors import DataError

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
    utts = read_data_dir(data_dir, need_text=False).utts
    share = split(utts, nj)[job - 1]
    where = f"{out_dir}: job {job} of {nj}"
    if _is_there(out_dir, "feats", _description(utts, identity, compress)):
        print(f"{where}: the whole dump is complete, nothing to do", flush=True)
        return
    description = _description(share, identity, compress)
    if _is_there(out_dir, f"feats.{job}", description):
        print(f"{where}: finished earlier ({len(share)} utterances), left alone", flush=True)
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in ("feats.yaml", "feats.scp", "frontend.yaml", f"feats.{job}.yaml"):
        (out_dir / name).unlink(missing_ok=True)
    size = _write_shard(out_dir, share, extract, sample_rate, nj, job, compress)
    _write_yaml(out_dir / f"feats.{job}.yaml", {**description, "bytes": size})
    if share:
        print(f"{where}: {len(share)} utterances, {_speech(share)}, {size / 1e6:.1f} MB", flush=True)
    else:
        print(f"{where}: nothing to do, the {len(utts)} utterances are shared out among fewer jobs", flush=True)


def merge_dump(data_dir: str | Path, out_dir: str | Path, nj: int) -> None:
    """Join the shards of ``nj`` jobs, once every utterance is there exactly once.

    Raises:
        DataError: if a job has not finished, or its shard was made from other utterances, with another
            number of jobs or with another frontend.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    utts = read_data_dir(data_dir, need_text=False).utts
    merged = _read_yaml(out_dir / "feats.yaml")
    if merged is not None and _is_there(out_dir, "feats", {**merged, "utterances": _fingerprint(utts)}):
        _copy_tables(data_dir, out_dir)
        print(f"{out_dir}: complete ({len(utts)} utterances, {_speech(utts)}), left alone", flush=True)
        return
    shards = _read_shards(out_dir, split(utts, nj))
    scp = _join(out_dir, "feats.{}.scp", utts, nj)
    num_frames = _join(out_dir, "utt2num_frames.{}", utts, nj)
    _remove_shards_above(out_dir, nj)
    _copy_tables(data_dir, out_dir)
    write_table(out_dir / "utt2num_frames", num_frames)
    _write_yaml(out_dir / "frontend.yaml", shards[0]["identity"])
    write_table(out_dir / "feats.scp", scp)
    size = sum(shard["bytes"] for shard in shards)
    _write_yaml(out_dir / "feats.yaml", {**shards[0], "utterances": _fingerprint(utts), "bytes": size})
    print(f"{out_dir}: {len(utts)} utterances, {_speech(utts)}, {size / 1e6:.1f} MB", flush=True)


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


def split(utts: Sequence[Utterance], nj: int) -> list[list[Utterance]]:
    """Cut utterances into ``nj`` shares of about equal duration, in order.

    All segments of a recording are in one share, where the recording first occurs; with few
    recordings some shares are empty.
    """
    recordings: dict[str, list[Utterance]] = {}
    for utt in utts:
        recordings.setdefault(str(utt.path), []).append(utt)
    total = sum(utt.duration for utt in utts)
    shares: list[list[Utterance]] = [[] for _ in range(nj)]
    done = 0.0
    for segments in recordings.values():
        duration = sum(utt.duration for utt in segments)
        middle = (done + duration / 2) / total
        shares[min(int(middle * nj), nj - 1)].extend(segments)
        done += duration
    return shares


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


def _description(utts: Sequence[Utterance], identity: dict[str, Any], compress: bool) -> dict[str, Any]:
    """Return all that a shard, or the whole dump, was made from."""
    return {"identity": _as_yaml(identity), "compress": compress, "utterances": _fingerprint(utts)}


def _fingerprint(utts: Sequence[Utterance]) -> str:
    rows = [(utt.utt_id, str(utt.path), utt.start, utt.end) for utt in utts]
    return f"{len(rows)} {hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]}"


def _is_there(out_dir: Path, stem: str, description: dict[str, Any]) -> bool:
    """Whether the shard or dump called ``stem`` is finished, fits ``description`` and has kept its size."""
    found = _read_yaml(out_dir / f"{stem}.yaml")
    if found is None or any(found.get(key) != value for key, value in description.items()):
        return False
    arks = out_dir.glob("feats.*.ark" if stem == "feats" else f"{stem}.ark")
    return found["bytes"] == sum(path.stat().st_size for path in arks)


def _read_shards(out_dir: Path, shares: list[list[Utterance]]) -> list[dict[str, Any]]:
    """Return the descriptions of all shards, which agree with each other and with their shares."""
    shards = []
    for job, share in enumerate(shares, start=1):
        where = f"{out_dir}: job {job} of {len(shares)}"
        shard = _read_yaml(out_dir / f"feats.{job}.yaml")
        if shard is None:
            raise DataError(f"{where}: not finished; see its log for the reason and run it again")
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


def _join(out_dir: Path, name: str, utts: Sequence[Utterance], nj: int) -> dict[str, str]:
    """Return the tables of all jobs as one, sorted by utterance id; ``name`` has a place for the job."""
    joined: dict[str, str] = {}
    for job in range(1, nj + 1):
        table = read_table(out_dir / name.format(job))
        if joined.keys() & table.keys():
            raise DataError(
                f"{out_dir / name.format(job)}: {min(joined.keys() & table.keys())} is in an earlier shard too"
            )
        joined.update(table)
    wrong = joined.keys() ^ {utt.utt_id for utt in utts}
    if wrong:
        raise DataError(
            f"{out_dir}: {len(wrong)} utterances are not both in {name.format('*')} and in the data directory, "
            f"the first is {min(wrong)}; delete {out_dir} and run stage 2 again"
        )
    return dict(sorted(joined.items()))


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


def _speech(utts: Sequence[Utterance]) -> str:
    seconds = sum(utt.duration for utt in utts)
    return f"{seconds:.0f} s of speech ({seconds / 3600:.2f} h)"


def _as_yaml(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` as it will be when it has been written and read: a tuple becomes a list."""
    return yaml.safe_load(yaml.safe_dump(content))


def _read_yaml(path: Path) -> dict[str, Any] | None:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    with new_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=True), encoding="utf-8")

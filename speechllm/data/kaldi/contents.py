"""Recordings of a data directory: shares of equal duration for jobs, and fingerprints of tables and audio."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.kaldi.data_dir import Utterance, iter_utterances
from speechllm.interfaces import Seconds

_MODULUS = 1 << 64


@dataclass(frozen=True)
class Contents:
    """Summary of a data directory without its utterances, since there may be millions."""

    data_dir: Path
    fingerprint: str
    num_utts: int
    files: dict[str, Seconds]
    """Total duration of the utterances by path, in the order of first occurrence."""

    def share(self, nj: int, job: int) -> list[Utterance]:
        """Return share ``job`` (from 1) of ``nj`` shares of about equal duration, without transcripts.

        All segments of a recording are in one share, in succession, at the first occurrence of the recording.
        With few recordings some shares are empty.
        """
        segments: dict[str, list[Utterance]] = {path: [] for path in self.share_files(nj, job)}
        for utt in iter_utterances(self.data_dir, need_text=False, text=False):
            if str(utt.path) in segments:
                segments[str(utt.path)].append(utt)
        return list(itertools.chain.from_iterable(segments.values()))

    def share_files(self, nj: int, job: int) -> list[str]:
        """Return the paths of the recordings of a share."""
        total, done = sum(self.files.values()), 0.0
        paths = []
        for path, duration in self.files.items():
            if min(int((done + duration / 2) / total * nj), nj - 1) == job - 1:
                paths.append(path)
            done += duration
        return paths

    def __str__(self) -> str:
        """Return a one-line summary."""
        return f"{self.num_utts} utterances, {speech(sum(self.files.values()))}"


def read_contents(data_dir: str | Path) -> Contents:
    """Read a data directory and summarise it.

    Raises:
        DataError: as ``data_dir.read_data_dir``.
    """
    files: dict[str, Seconds] = {}

    def utterances() -> Iterator[Utterance]:
        for utt in iter_utterances(data_dir, need_text=False, text=False):
            files[str(utt.path)] = files.get(str(utt.path), 0.0) + utt.duration
            yield utt

    fingerprint = fingerprint_utts(utterances())
    return Contents(Path(data_dir), fingerprint, int(fingerprint.split()[0]), files)


def fingerprint_utts(utts: Iterable[Utterance]) -> str:
    """Return the number of utterances, and a fingerprint of their ids, files, times and durations."""
    digest, number = hashlib.sha256(), 0
    for number, utt in enumerate(utts, start=1):
        row = json.dumps((utt.utt_id, str(utt.path), utt.start, utt.end, utt.duration))
        digest.update(f"{'[' if number == 1 else ', '}{row}".encode())
    digest.update(b"]" if number else b"[]")
    return f"{number} {digest.hexdigest()[:16]}"


def audio_fingerprint(paths: Iterable[str]) -> str:
    """Return a fingerprint of the sizes and modification times of audio files, in any order: one ``stat`` per file.

    The fingerprint of the files of all shares is the sum of those of the shares, see ``add_fingerprints``.
    """
    total = 0
    for path in paths:
        try:
            stat = Path(path).stat()
            state = f"{path} {stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = f"{path} missing"
        total += int.from_bytes(hashlib.sha256(state.encode(errors="surrogateescape")).digest()[:8], "big")
    return f"{total % _MODULUS:016x}"


def add_fingerprints(fingerprints: Iterable[str]) -> str:
    """Return the sum of audio fingerprints, the fingerprint of all their files."""
    return f"{sum(int(one, 16) for one in fingerprints) % _MODULUS:016x}"


def speech(seconds: Seconds) -> str:
    """Return a duration in seconds and hours as text."""
    return f"{seconds:.0f} s of speech ({seconds / 3600:.2f} h)"

"""A Kaldi data directory: one set of utterances in sorted text tables.

    wav.scp    recording -> path of an audio file; without `segments`, a recording is an utterance
    segments   utterance -> recording, start and end in seconds; only if utterances are parts of recordings
    text       utterance -> transcript
    utt2spk    utterance -> speaker; the utterance id begins with the speaker id
    spk2utt    speaker -> its utterances
    utt2dur    utterance -> duration in seconds
    context    utterance -> text for the prompt, such as hot words; may be empty; optional
    dropped    utterance -> reason for leaving it out; only if utterances were left out
    language   language of all utterances, a code such as de; only if known
    fingerprint  command and input of the directory; only if a verb of this package wrote it

Paths are absolute or, as everywhere in Kaldi, relative to the working directory; Kaldi's pipes are rejected.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.atomic import new_file
from speechllm.data.kaldi.table import MAY_BE_EMPTY, iter_table, read_table, write_table
from speechllm.data.kaldi.target import LANGUAGE, TABLES, check_target, is_made, new_target
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

__all__ = [
    "TABLES",
    "DataDir",
    "Utterance",
    "is_made",
    "iter_table",
    "read_data_dir",
    "read_table",
    "write_data_dir",
    "write_table",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One utterance: location of its samples, speaker and transcript."""

    utt_id: str
    speaker: str
    path: Path
    start: Seconds = 0.0
    end: Seconds | None = None
    """None: the end of the file."""
    duration: Seconds
    text: str | None = None
    recording: str = ""
    """Id of the recording in wav.scp; empty: the utterance id (no segments)."""
    context: str = ""
    """Text for the prompt, such as hot words; empty: none."""


@dataclass(frozen=True, kw_only=True)
class DataDir:
    """Content of a data directory with consistent tables."""

    path: Path
    utts: list[Utterance]
    """Sorted by utterance id."""


def read_data_dir(path: str | Path, need_text: bool = True) -> DataDir:
    """Read a data directory; ``validate_data_dir`` checks more and lists all errors.

    Args:
        path: data directory.
        need_text: whether ``text`` is required; it is read whenever it exists.

    Raises:
        DataError: if a table is missing or malformed, or its ids differ from those of ``utt2spk``.
    """
    return DataDir(path=Path(path), utts=list(iter_utterances(path, need_text)))


def iter_utterances(path: str | Path, need_text: bool = True, text: bool = True) -> Iterator[Utterance]:
    """Yield the utterances of a data directory, sorted by id, without storing them.

    Args:
        path: data directory.
        need_text: as for ``read_data_dir``.
        text: whether to include transcripts and contexts.

    Raises:
        DataError: as ``read_data_dir``.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory; write it with `speechllm prepare` or `speechllm import`")
    has_segments = (path / "segments").exists()
    has_text = need_text or (path / "text").exists()
    wavs: dict[str, Path] = {}
    if has_segments:
        wavs = {key: parse_wav(value, f"{path}/wav.scp: {key}") for key, value in iter_table(path / "wav.scp")}
    empty = True
    names = ["utt2spk", "utt2dur", "segments" if has_segments else "wav.scp"]
    names += ["text"] * has_text + ["context"] * (path / "context").exists()
    for utt, values in _iter_same_ids(path, names):
        audio = values[names[2]]
        empty = False
        recording, start, end = utt, 0.0, None
        if has_segments:
            recording, start, end = parse_segment(audio, f"{path}/segments: {utt}")
            if start < 0 or (end is not None and end <= start):
                raise DataError(f"{path}/segments: {utt}: found {start} s to {end} s, expected an end after the start")
            if recording not in wavs:
                raise DataError(
                    f"{path}/segments: {utt}: found the recording {recording!r}, which is not in wav.scp; add it"
                )
        yield Utterance(
            utt_id=utt,
            speaker=values["utt2spk"],
            path=wavs[recording] if has_segments else parse_wav(audio, f"{path}/wav.scp: {utt}"),
            start=start,
            end=end,
            duration=_parse_duration(values["utt2dur"], f"{path}/utt2dur: {utt}"),
            text=values["text"] if has_text and text else None,
            context=values.get("context", "") if text else "",
            recording=recording if has_segments else "",
        )
    if empty:
        raise DataError(f"{path}: no utterances, expected at least one; write the directory again")


def write_data_dir(
    path: str | Path,
    utts: Iterable[Utterance],
    dropped: Mapping[str, str] | None = None,
    fingerprint: str = "",
    files: Mapping[str, str] | None = None,
) -> None:
    """Write utterances as a data directory atomically; ``check_target`` describes which directories are replaced.

    Args:
        path: data directory.
        utts: utterances in any order; durations are rounded to 0.1 microseconds.
        dropped: reasons of the utterances that were left out, by utterance id.
        fingerprint: command and input of the directory, for ``is_made``.
        files: contents of further files by name.

    Raises:
        DataError: if there are no utterances, two have the same id, two files the same recording id, some but not all
            have a text, or files that no verb wrote would be lost.
    """
    check_target(path, need_marker=bool(fingerprint))
    tables = to_tables(utts, Path(path), dropped)
    with new_target(path, "data directory", fingerprint, files or ()) as temporary:
        for name, table in tables.items():
            write_table(temporary / name, table)
        for name, content in (files or {}).items():
            (temporary / name).write_text(content, encoding="utf-8")


def read_language(path: str | Path) -> str | None:
    """Return the language of a data directory; None if it is not recorded."""
    file = Path(path) / LANGUAGE
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def write_language(path: str | Path, language: str | None) -> None:
    """Record the language of a data directory; None writes nothing."""
    if language is not None and read_language(path) != language:
        with new_file(Path(path) / LANGUAGE) as temporary:
            temporary.write_text(f"{language}\n", encoding="utf-8")


def directory_fingerprint(path: str | Path) -> str:
    """Return a line with the name of a data directory and a fingerprint of its tables."""
    digest = hashlib.sha256()
    for table in (Path(path) / name for name in TABLES):
        absent = b"" if table.name == "context" else b"\0"  # keeps fingerprints of versions without contexts
        digest.update(table.read_bytes() if table.exists() else absent)
    return f"{path} {digest.hexdigest()[:16]}"


def invert(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Return spk2utt: the sorted utterances of every speaker."""
    spk2utt: dict[str, list[str]] = {}
    for utt in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return {speaker: " ".join(utts) for speaker, utts in spk2utt.items()}


def parse_wav(value: str, where: str) -> Path:
    """Parse a value of wav.scp: a path; a pipe is an error."""
    if value.endswith("|"):
        raise DataError(f"{where}: found the command {value!r}, expected a path; write the audio to a file first")
    return Path(value)


def parse_seconds(value: str, where: str) -> Seconds:
    """Parse a number of seconds."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise DataError(f"{where}: found {value!r}, expected a number of seconds")
    return seconds


def _parse_duration(value: str, where: str) -> Seconds:
    if (seconds := parse_seconds(value, where)) <= 0:
        raise DataError(f"{where}: found {value!r}, expected more than 0 seconds; `speechllm fix` measures the audio")
    return seconds


def parse_segment(value: str, where: str) -> tuple[str, Seconds, Seconds | None]:
    """Parse a value of ``segments``: recording, start and end; the end is None for Kaldi's -1."""
    fields = value.split()
    if len(fields) != 3:
        raise DataError(f"{where}: found {value!r}, expected a recording, its start and its end in seconds")
    start, end = (parse_seconds(field, where) for field in fields[1:])
    return fields[0], start, None if end == -1 else end


def _iter_same_ids(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each id with its values by table; the first table is utt2spk."""
    tables = [iter_table(path / name, allow_empty=name in MAY_BE_EMPTY) for name in names]
    for rows in itertools.zip_longest(*tables, fillvalue=("", "")):
        for name, (utt, _) in zip(names, rows, strict=True):
            if utt != rows[0][0]:
                raise _different_ids(path / name, path / names[0])
        yield rows[0][0], {name: value for name, (_, value) in zip(names, rows, strict=True)}


def _different_ids(table: Path, utt2spk: Path) -> DataError:
    different = sorted(read_table(table, allow_empty=table.name in MAY_BE_EMPTY).keys() ^ read_table(utt2spk).keys())
    return DataError(
        f"{table}: {len(different)} ids are in only one of {table.name} and utt2spk, the first {different[0]!r}; "
        f"`speechllm validate {table.parent}` lists all errors"
    )


def to_tables(
    utts: Iterable[Utterance], path: Path, dropped: Mapping[str, str] | None = None
) -> dict[str, dict[str, str]]:
    """Return the tables of utterances by file name; ``path`` is for errors.

    Raises:
        DataError: as ``write_data_dir``.
    """
    utts = sorted(utts, key=lambda utt: utt.utt_id)
    if not utts:
        raise DataError(f"{path}: no utterance is left, expected at least one; nothing is written")
    for first, second in itertools.pairwise(utts):
        if first.utt_id == second.utt_id:
            raise DataError(f"{path}: found two utterances {first.utt_id!r} ({first.path} and {second.path})")
    texts = {utt.utt_id: utt.text for utt in utts if utt.text is not None}
    segments = {utt.utt_id: format_segment(utt) for utt in utts if utt.recording}
    for name, table in (("text", texts), ("segments", segments)):
        if table and len(table) != len(utts):
            raise DataError(f"{path}: {len(table)} of {len(utts)} utterances have {name}, expected all or none")
    wavs: dict[str, str] = {}
    for utt in utts:
        recording = utt.recording or utt.utt_id
        if wavs.setdefault(recording, str(utt.path)) != str(utt.path):
            raise DataError(f"{path}: recording {recording!r} is both {wavs[recording]} and {utt.path}")
    utt2spk = {utt.utt_id: utt.speaker for utt in utts}
    utt2dur = {utt.utt_id: format_seconds(utt.duration) for utt in utts}
    tables = {"wav.scp": wavs, "utt2spk": utt2spk, "spk2utt": invert(utt2spk), "utt2dur": utt2dur}
    contexts = {utt.utt_id: utt.context for utt in utts} if any(utt.context for utt in utts) else {}
    maybe = {"segments": segments, "text": texts, "context": contexts, "dropped": dict(dropped or {})}
    return tables | {name: table for name, table in maybe.items() if table}


def format_segment(utt: Utterance) -> str:
    """Return the value of an utterance in ``segments``."""
    return f"{utt.recording} {format_seconds(utt.start)} {-1 if utt.end is None else format_seconds(utt.end)}"


def format_seconds(seconds: Seconds) -> str:
    """Return a time as text for the tables, rounded to 0.1 microseconds."""
    return repr(round(float(seconds), 7))

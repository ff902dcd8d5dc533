"""Writing of data directories from the rows of a source: usable rows are written, the others counted and listed.

Rows may be parts of a file, share ids, contradict each other or name missing audio. The file ``dropped`` of the
directory lists the rows left out, with reasons.
"""

import hashlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from speechllm.data.audio.durations import measure_durations
from speechllm.data.kaldi.data_dir import Utterance, is_made, write_data_dir
from speechllm.data.kaldi.dropped import kind, none_left, tell_dropped
from speechllm.data.kaldi.rows import BadRow, Named, Row, free_name, name_recordings, name_utterances
from speechllm.data.kaldi.target import check_target
from speechllm.data.kaldi.validate import ABSURD, ROUNDING, segment_flaw
from speechllm.interfaces import Seconds
from speechllm.provenance import files_fingerprint


def write_rows(target: str | Path, rows: Iterable[Row | BadRow], made_from: str, keep_ids: bool = False) -> bool:
    """Write a data directory of all usable rows.

    Args:
        target: data directory.
        rows: rows in the order of the source.
        made_from: name of the source, for ``fingerprint`` and messages.
        keep_ids: whether to keep ids and speakers, which must be valid and unique; otherwise ``name_utterances``
            assigns new ones.

    Returns:
        Whether anything was written; False if the target already exists, made from the same rows and files.

    Raises:
        DataError: if no row is usable, or files that no verb wrote would be lost.
    """
    good: list[Row] = []
    dropped: dict[str, str] = {}
    taken: dict[str, int] = {}
    for row in rows:
        if isinstance(row, BadRow):
            dropped[free_name(_key(row.where), taken)] = _one_line(row.reason)
        else:
            good.append(row)
    fingerprint = _fingerprint(made_from, good, dropped)
    if is_made(target, fingerprint):
        return False
    check_target(target)
    named = [Named(row.utt_id, row.speaker, row) for row in good] if keep_ids else name_utterances(good)
    utts, unusable = _sort_out(named, Path(target).name)
    for utt, reason in unusable.items():
        dropped[free_name(utt, taken)] = reason
    kinds = Counter(map(kind, dropped.values()))
    if not utts:
        raise none_left(made_from, kinds, itertools.islice(dropped.items(), 1))
    write_data_dir(target, utts, dropped, fingerprint)
    tell_dropped(Path(target), kinds)
    return True


def _fingerprint(made_from: str, rows: Sequence[Row], dropped: Mapping[str, str]) -> str:
    listed = hashlib.sha256(repr((rows, dropped)).encode(errors="backslashreplace")).hexdigest()[:16]
    files = sorted({row.path for row in rows if row.path.is_file()})
    return f"{_one_line(made_from)}\n{listed} {files_fingerprint(files)}\n"


def _one_line(text: str) -> str:
    """Return a text as one line of valid UTF-8; file names may contain line breaks and other bytes."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())


def _key(where: str) -> str:
    """Return a key for a line of ``dropped``, without white space."""
    return "_".join(_one_line(where).split()) or "unnamed"


def _sort_out(named: Sequence[Named], title: str) -> tuple[list[Utterance], dict[str, str]]:
    """Return the usable utterances, and the reasons of the others."""
    unusable = _listed_twice(named)
    for utt, _, row in named:
        if reason := _flaw(row):
            unusable[utt] = reason
    left = [one for one in named if one.utt_id not in unusable]
    durations, broken = measure_durations({str(row.path): row.path for _, _, row in left}, title)
    utts = []
    for one in left:
        path = str(one.row.path)
        result = _place(one, durations[path]) if path in durations else f"unusable audio: {broken[path]}"
        if isinstance(result, str):
            unusable[one.utt_id] = result
        else:
            utts.append(result)
    wheres = {utt: row.where for utt, _, row in named}
    for utt, reason in unusable.items():
        place = f" ({wheres[utt]})" if ":" in reason else f": {wheres[utt]}"  # a kind ends at the first colon
        unusable[utt] = _one_line(reason + place)
    if any(utt.start > 0 or utt.end is not None for utt in utts):
        recordings = name_recordings(one.row for one in left)
        utts = [replace(utt, recording=recordings[utt.path]) for utt in utts]
    return utts, unusable


def _listed_twice(named: Sequence[Named]) -> dict[str, str]:
    """Return the errors of rows with the same piece of audio: all but the first, or all if they differ."""
    pieces: dict[tuple[Path, Seconds, Seconds | None], list[Named]] = defaultdict(list)
    for one in named:
        pieces[one.row.path, one.row.start, one.row.duration].append(one)
    wrong: dict[str, str] = {}
    for same in pieces.values():
        if len({(_words(one.row) != _words(same[0].row), one.row.speaker) for one in same}) > 1:
            places = " and ".join(one.row.where for one in same[:2])
            wrong |= {one.utt_id: f"the same audio with different transcripts or speakers: {places}" for one in same}
        else:
            wrong |= {one.utt_id: f"listed twice: first at {same[0].row.where}" for one in same[1:]}
    return wrong


def _flaw(row: Row) -> str | None:
    """Return the error of a row that can be found without opening the audio; None if there is none."""
    if row.text is not None and (reason := _text_flaw(row.text)):
        return reason
    path = str(row.path)
    if not _is_utf8(path) or "\n" in path or path.strip(" \t\r") != path or path.endswith("|"):
        return f"a path not allowed in wav.scp: {path!r}; rename the file"
    if not row.path.is_file():
        return f"missing audio: {path}"
    if not math.isfinite(row.start) or row.start < 0:
        return f"a wrong start: found {row.start} s, expected 0 or more"
    if row.duration is not None and not (math.isfinite(row.duration) and row.duration > 0):
        return f"a wrong duration: found {row.duration} s, expected more than 0"
    return None


def _text_flaw(text: str) -> str | None:
    if not text.split():
        return "empty transcript"
    if not _is_utf8(text):
        return "not UTF-8: the transcript"
    return "a NUL character: in the transcript" if "\0" in text else None


def _words(row: Row) -> list[str] | None:
    return None if row.text is None else row.text.split()


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _place(one: Named, whole: Seconds) -> Utterance | str:
    """Return the utterance in its file of ``whole`` seconds, or the error of its segment."""
    row = one.row
    end = None if row.duration is None else row.start + row.duration
    if end is not None and abs(end - whole) <= ROUNDING:
        end = None
    last = whole if end is None else end
    if flaw := segment_flaw(row.start, last, whole):
        return f"segment {flaw}: {row.start} s to {last} s of {whole} s in {row.path}"
    if last - row.start > ABSURD:
        return f"longer than {ABSURD:.0f} s: {last - row.start} s"
    return Utterance(
        utt_id=one.utt_id,
        speaker=one.speaker,
        path=row.path,
        start=row.start,
        end=end,
        duration=last - row.start,
        text=None if row.text is None else " ".join(row.text.split()),
    )

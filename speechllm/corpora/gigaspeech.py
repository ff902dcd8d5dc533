"""GigaSpeech: 10,000 hours of audiobooks, podcasts and YouTube (Chen et al., 2021, arXiv 2106.06909).

Layout: ``<root>/GigaSpeech.json`` and the long Opus files named in it, ``<root>/audio/podcast/P0000/POD...opus``; or
both in ``<root>/GigaSpeech``. Utterances are segments of these files. The JSON is read recording by recording, and the
tables are sorted on disk, so the memory use does not depend on the size of the set.

Punctuation tags are removed from the transcripts; segments with a garbage tag (music, noise, silence, other speech)
are left out. Speakers are unknown: every segment has its own speaker.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from speechllm.corpora._prepare import files_below
from speechllm.data.audio.read import audio_duration
from speechllm.data.files import md5_of
from speechllm.data.kaldi.data_dir import Utterance, is_made
from speechllm.data.kaldi.sorted_tables import SortedTables, new_sorted_tables
from speechllm.data.kaldi.validate import ROUNDING, overlaps, segment_flaw
from speechllm.errors import DataError
from speechllm.interfaces import Seconds
from speechllm.provenance import files_fingerprint

VARIABLE = "GIGASPEECH"
SETS = ("xs", "s", "m", "l", "xl", "dev", "test")
"""Sets of 10, 250, 1,000, 2,500 and 10,000 hours, each a subset of the next; 12 and 40 hours."""
PUNCTUATION = frozenset({"<COMMA>", "<PERIOD>", "<QUESTIONMARK>", "<EXCLAMATIONPOINT>"})
GARBAGE = frozenset({"<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>"})
WHERE_TO_GET = (
    "get it from https://github.com/SpeechColab/GigaSpeech (requires a form), and set "
    f"{VARIABLE} to the folder of GigaSpeech.json"
)
TIMES = ("begin_time", "end_time")
_TOGETHER = 64  # recordings opened in parallel
_THREADS = 16


def has_set(root: Path, name: str) -> bool:
    """Return whether the corpus has such a set."""
    return name in SETS


def download(root: Path, sets: list[str]) -> None:
    """Check that the corpus exists; it is free, but a form is required to get it.

    Raises:
        DataError: if it is missing; with instructions to get it.
    """
    _find_json(root)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set; unusable segments are counted and listed in it.

    Every file is verified with its MD5 checksum in the JSON, unless the shell variable GIGASPEECH_MD5 is ``false``.

    Args:
        root: root of the corpus.
        data: parent of the data directories ``<data>/<set>``.
        sets: names from ``SETS``; the JSON is read once for all sets.

    Raises:
        DataError: if the corpus is not under ``root``, or no segment of a set is usable.
    """
    path = _find_json(root)
    root = path.parent
    check_md5 = os.environ.get("GIGASPEECH_MD5", "true") != "false"
    audio = files_fingerprint([path, *files_below(root / "audio")])
    source = f"{root} {audio} {'MD5 checked' if check_md5 else 'unchecked'}"
    fingerprints = {name: f"prepare gigaspeech {name}\n{source}\n" for name in sets}
    with ExitStack() as stack, ThreadPoolExecutor(_THREADS) as pool:
        tables = {
            name: stack.enter_context(new_sorted_tables(data / name, made))
            for name, made in fingerprints.items()
            if not is_made(data / name, made)
        }
        seen: set[str] = set()
        recordings = (found for found in _recordings(path, tables) if _sets_of(found, tables))
        while together := list(islice(recordings, _TOGETHER)):
            files = [root / str(found.get("path")) for found in together]
            measured = pool.map(_measure, files, (found.get("md5") if check_md5 else None for found in together))
            for recording, file, duration in zip(together, files, measured, strict=True):
                if recording["aid"] in seen:
                    duration = "recording that is listed twice"
                seen.add(recording["aid"])
                _add_segments(recording, file, duration, tables)


def _find_json(root: Path) -> Path:
    found = [folder / "GigaSpeech.json" for folder in (root, root / "GigaSpeech")]
    path = next((one for one in found if one.is_file()), found[0])
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected the list of GigaSpeech's recordings; {WHERE_TO_GET}")
    return path


def _recordings(path: Path, tables: Mapping[str, SortedTables]) -> Iterator[dict[str, Any]]:
    """Yield the recordings in order; if the JSON is damaged or truncated, the rest is dropped."""
    import ijson  # imported here because only this corpus needs it

    if not tables:
        return
    last = "its beginning"
    try:
        with path.open("rb") as file:
            for recording in ijson.items(file, "audios.item", use_float=True):
                if _is_recording(recording):
                    last = recording["aid"]
                    yield recording
                    continue
                for table in tables.values():
                    table.drop(path.name, f"no recording: found {str(recording)[:60]!r} after {last}")
    except ijson.JSONError as error:
        reason = " ".join(str(error).split())
        for table in tables.values():
            table.drop(path.name, f"truncated or damaged JSON: unreadable after {last}: {reason[:200]}")


def _is_recording(found: object) -> bool:
    """Return whether this is an object with an id and, if it has segments, a list of objects as segments."""
    if not isinstance(found, dict) or not isinstance(found.get("aid"), str) or found["aid"].split() != [found["aid"]]:
        return False
    segments = found.get("segments") or []
    return isinstance(segments, list) and all(isinstance(segment, dict) for segment in segments)


def _sets_of(entry: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the sets of a recording or segment among ``names``; in the JSON, names of sets are in braces."""
    listed = entry.get("subsets")
    found = {str(one).strip("{}").lower() for one in listed} if isinstance(listed, list) else set()
    return [name for name in names if name in found]


def _measure(path: Path, md5: str | None) -> Seconds | str:
    """Return the duration of a file, or the reason why it is unusable."""
    if not path.is_file():
        return f"missing audio: {path}"
    try:
        if md5 is not None and (found := md5_of(path)) != md5:
            return f"wrong MD5 checksum: {path} has {found}, expected {md5}; get the file again"
        return audio_duration(path)
    except (DataError, OSError) as error:
        return f"unusable audio: {error}"


def _add_segments(
    recording: Mapping[str, Any], file: Path, duration: Seconds | str, tables: Mapping[str, SortedTables]
) -> None:
    """Add each segment of a recording to the tables of its sets, as an utterance or as dropped."""
    seen: set[str] = set()
    reached = 0.0
    for number, segment in sorted(enumerate(recording.get("segments") or []), key=_begin):
        names = _sets_of(segment, tables)
        utt = str(segment.get("sid"))
        result = (
            duration if isinstance(duration, str) else _utterance(segment, recording["aid"], file, duration, reached)
        )
        if utt.split() != [utt] or not utt.startswith(recording["aid"]) or utt in seen:
            utt, result = f"{recording['aid']}[{number}]", f"wrong segment id: found {utt[:60]!r}, expected a new one"
        seen.add(utt)
        for name in names:
            if isinstance(result, str):
                tables[name].drop(utt, " ".join(result.split()))
            else:
                tables[name].add(result)
        if isinstance(result, Utterance):
            reached = max(reached, result.start + result.duration)


def _begin(numbered: tuple[int, Mapping[str, Any]]) -> Seconds:
    begin = numbered[1].get("begin_time")
    return float(begin) if isinstance(begin, int | float) else math.inf


def _utterance(
    segment: Mapping[str, Any], aid: str, file: Path, duration: Seconds, reached: Seconds
) -> Utterance | str:
    """Return a segment as an utterance, or the reason to drop it; earlier segments end at ``reached``."""
    begin, end = (time if isinstance(time, int | float) else math.nan for time in map(segment.get, TIMES))
    if not (math.isfinite(begin) and math.isfinite(end)):
        return f"wrong times: {segment.get('begin_time')} to {segment.get('end_time')}"
    text = transcript(str(segment.get("text_tn", "")))
    end = min(end, duration) if end <= duration + ROUNDING else end
    if flaw := segment_flaw(begin, end, duration):
        return f"segment {flaw}: {begin} s to {end} s of {duration} s in {file}"
    if overlaps(begin, end, reached):
        return f"segment overlapping another: {begin} s to {end} s, the previous one ends at {reached} s in {file}"
    if set(text.split()) & GARBAGE:
        return f"garbage utterance: {text}"
    if not text:
        return "empty transcript"
    if "\0" in text:
        return "a NUL character in the transcript"
    if tags := re.findall(r"<[^> ]*>", text):
        return f"unknown tag: {tags[0]} in {text[:80]}"
    return Utterance(
        utt_id=segment["sid"],
        speaker=segment["sid"],
        path=file,
        start=begin,
        end=end,
        duration=end - begin,
        text=text,
        recording=aid,
    )


def transcript(text: str) -> str:
    """Return a transcript without punctuation tags."""
    return " ".join(word for word in text.split() if word not in PUNCTUATION)

"""Rows of a source of utterances, and their ids in a data directory.

A source yields a ``Row`` for every utterance and a ``BadRow`` for every unreadable one; ``write_rows`` writes a data
directory from them. Ids consist of letters and digits of any script and ``_ - .``; a speaker id has no ``-``. Because
``-`` sorts before the other characters, the utterances of a speaker stay together in sorted tables.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from speechllm.interfaces import Seconds

_Key = TypeVar("_Key")
_NOT_IN_IDS = re.compile(r"[\s\x00-\x2c/:-@\[-^`{-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One utterance of a source."""

    where: str
    """Location in the source for messages, such as file and line."""
    path: Path
    """Absolute path of the audio."""
    text: str | None
    """Transcript; white space becomes single spaces. None in all rows of a source without transcripts."""
    speaker: str = ""
    """Speaker; empty: unknown, so the utterance gets its own speaker."""
    utt_id: str = ""
    """Utterance id; empty: made from the file name, and from the times if several utterances share the file."""
    start: Seconds = 0.0
    """Start in the file."""
    duration: Seconds | None = None
    """Duration; None: to the end of the file. An end within 10 ms of the file's end is set to it."""
    recording: str = ""
    """Id of the file; empty: made from its name."""


class BadRow(NamedTuple):
    """Entry of a source that cannot be read as an utterance."""

    where: str
    """File and line, or the id of an utterance."""
    reason: str
    """Reason, ``kind`` or ``kind: detail``; reasons are counted by kind."""


class Named(NamedTuple):
    """A row with its ids in a data directory."""

    utt_id: str
    speaker: str
    row: Row


def clean_id(name: str) -> str:
    """Return a name as an id; invalid characters become underscores."""
    return _NOT_IN_IDS.sub("_", name).strip("_") or "unnamed"


def name_utterances(rows: Sequence[Row]) -> list[Named]:
    """Assign every row an utterance id and a speaker; the ids are unique and begin with the speaker.

    A number is appended to an id that is already used. If only some speakers are known, the ids of the other utterances
    contain no ``-``, to keep them separate.
    """
    speakers = _distinct({row.speaker: clean_id(row.speaker).replace("-", "_") for row in rows if row.speaker})
    names = _file_names({row.path for row in rows})
    shared = Counter(row.path for row in rows)
    taken = dict.fromkeys(speakers.values(), 1)
    named = []
    for row in rows:
        utt = clean_id(row.utt_id or names[row.path] + (_times(row) if shared[row.path] > 1 else ""))
        speaker = speakers.get(row.speaker, "")
        if speaker and not utt.startswith(f"{speaker}-"):
            utt = f"{speaker}-{utt}"
        elif speakers and not speaker:
            utt = utt.replace("-", "_")
        utt = free_name(utt, taken)
        named.append(Named(utt, speaker or utt, row))
    return named


def name_recordings(rows: Iterable[Row]) -> dict[Path, str]:
    """Return an id for every file of the rows."""
    wanted = {row.path: row.recording for row in rows}
    names = _file_names(wanted)
    return _distinct({path: name or clean_id(names[path]) for path, name in wanted.items()})


def free_name(name: str, taken: dict[str, int]) -> str:
    """Return the name, with a number appended if it is used, and mark the result as used.

    Args:
        name: desired name.
        taken: used names, each with the last number tried as a suffix.
    """
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name}_{taken[name]}"
    taken[free] = 1
    return free


def _file_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return names of files without folder and suffix; the last folder is added if several files have one name."""
    paths = list(paths)
    stems = Counter(path.stem for path in paths)
    return {path: path.stem if stems[path.stem] == 1 else f"{path.parent.name}-{path.stem}" for path in paths}


def _times(row: Row) -> str:
    """Return the id suffix for a part of a file: its times in milliseconds."""
    if row.duration is None:
        return f"-{_milliseconds(row.start)}" if row.start else ""
    return f"-{_milliseconds(row.start)}-{_milliseconds(row.start + row.duration)}"


def _milliseconds(seconds: Seconds) -> str:
    return f"{round(seconds * 1000):08d}" if math.isfinite(seconds) else str(seconds)  # a row that will be dropped


def _distinct(names: dict[_Key, str]) -> dict[_Key, str]:
    taken: dict[str, int] = {}
    return {key: free_name(name, taken) for key, name in names.items()}

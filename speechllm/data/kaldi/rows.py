"""Utterances as a source lists them, good and bad, and the ids they get in a data directory.

A source yields a ``Row`` for every utterance and a ``BadRow`` for whatever cannot be read as one; ``write_rows``
makes a data directory of them. Ids consist of letters and digits of any script, ``_ - .``, and no ``-`` in that of a
speaker: ``-`` sorts before all of the others, so the utterances of a speaker stay together in sorted tables.
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
    """One utterance as a source lists it."""

    where: str
    """File and line, or whatever finds it again, for messages."""
    path: Path
    """Of the audio, absolute."""
    text: str | None
    """Transcript, in which white space becomes single spaces; None in all rows of a source without transcripts."""
    speaker: str = ""
    """Empty: unknown; the utterance is then its own speaker."""
    utt_id: str = ""
    """Empty: made of the file's name and, where several utterances share the file, of the times."""
    start: Seconds = 0.0
    """In the file."""
    duration: Seconds | None = None
    """None: to the end of the file. Within 10 ms of the end, the end is meant."""
    recording: str = ""
    """Id of the file; empty: made of its name."""


class BadRow(NamedTuple):
    """What a source lists that cannot be read as an utterance."""

    where: str
    """File and line, or the id of an utterance."""
    reason: str
    """``kind`` or ``kind: detail``; kinds are counted."""


class Named(NamedTuple):
    """A row with its ids in a data directory."""

    utt_id: str
    speaker: str
    row: Row


def clean_id(name: str) -> str:
    """Return a name as an id: what an id cannot hold becomes an underscore."""
    return _NOT_IN_IDS.sub("_", name).strip("_") or "unnamed"


def name_utterances(rows: Sequence[Row]) -> list[Named]:
    """Give every row an utterance id and a speaker; the ids are unique, and begin with the speaker.

    A number is put behind an id that another row has already. Where some speakers are known and some are not, the
    unknown ones have no ``-`` in their ids, so that they stay apart from the others.
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
    """Return an id for every file that rows are in."""
    wanted = {row.path: row.recording for row in rows}
    names = _file_names(wanted)
    return _distinct({path: name or clean_id(names[path]) for path, name in wanted.items()})


def free_name(name: str, taken: dict[str, int]) -> str:
    """Return the name, with a number behind it if it is taken, and take it.

    Args:
        name: that is wished.
        taken: the names that are, each with the last number tried behind it.
    """
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name}_{taken[name]}"
    taken[free] = 1
    return free


def _file_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Name files: without folder and suffix, or with the last folder where several have one name."""
    paths = list(paths)
    stems = Counter(path.stem for path in paths)
    return {path: path.stem if stems[path.stem] == 1 else f"{path.parent.name}-{path.stem}" for path in paths}


def _times(row: Row) -> str:
    """Return the times of a part of a file, in milliseconds, as the end of its id."""
    if row.duration is None:
        return f"-{_milliseconds(row.start)}" if row.start else ""
    return f"-{_milliseconds(row.start)}-{_milliseconds(row.start + row.duration)}"


def _milliseconds(seconds: Seconds) -> str:
    return f"{round(seconds * 1000):08d}" if math.isfinite(seconds) else str(seconds)  # a row that will be dropped


def _distinct(names: dict[_Key, str]) -> dict[_Key, str]:
    taken: dict[str, int] = {}
    return {key: free_name(name, taken) for key, name in names.items()}

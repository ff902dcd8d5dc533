"""Transcript files for scoring: Kaldi's ``text`` and sclite's ``.trn``.

A line of Kaldi's ``text`` is ``<utterance id> <words>``, a line of sclite's ``.trn`` is ``<words> (<id>)``. In ``.trn``
the speaker is the part of the id before the first ``-`` (``sclite -i rm``), so ids are written as
``<speaker>-<utterance id>``, as in ESPnet, and read without that prefix.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from speechllm.errors import DataError

Transcripts = dict[str, str]
"""Texts by utterance id, in the order of the file; '' for an empty hypothesis."""

NAMED_IN_MESSAGE = 10
"""Maximum number of utterance ids listed in a message."""

TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<utt_id>[^\s()]+)\)\s*", re.DOTALL)


def read(path: Path) -> Transcripts:
    """Read a ``.trn`` file, or with any other name a Kaldi ``text`` file.

    Raises:
        DataError: if the file is missing, not UTF-8, empty or malformed, or has a duplicate id; with the line.
    """
    found: Transcripts = {}
    first_line: dict[str, int] = {}
    for number, utt_id, text in _entries(path):
        if utt_id in found:
            where = f"{path}:{number}: found the utterance {utt_id} here and in line {first_line[utt_id]}"
            raise DataError(f"{where}, expected each id once; remove one of them")
        found[utt_id], first_line[utt_id] = text, number
    if not found:
        raise DataError(f"{path}: found no utterance, expected one per line; check that the file is complete")
    return found


def read_ids(path: Path) -> list[str]:
    """Read a list of utterance ids, one per line; an empty file is an empty list."""
    ids = []
    for number, line in read_lines(path):
        if len(line.split()) != 1:
            raise DataError(f"{path}:{number}: expected one utterance id, found {line.strip()!r}")
        ids.append(line.strip())
    return ids


def read_durations(path: Path, utt_ids: Iterable[str]) -> dict[str, float]:
    """Read Kaldi's ``utt2dur``, ``<utterance id> <seconds>`` per line; it must contain all of ``utt_ids``."""
    durations = {}
    for number, line in read_lines(path):
        try:
            utt_id, text = line.split()
            durations[utt_id] = seconds = float(text)
            if not 0 <= seconds < math.inf:
                raise ValueError(text)
        except ValueError as error:
            raise DataError(f"{path}:{number}: expected an utterance id and seconds, found {line.strip()!r}") from error
    if missing := [utt_id for utt_id in utt_ids if utt_id not in durations]:
        raise DataError(
            f"{path}: {len(missing)} utterances have no duration: {name_some(missing)}; write the file again"
        )
    return durations


def check_same_utterances(ref: Transcripts, hyp: Transcripts, ref_name: object, hyp_name: object) -> None:
    """Raise DataError unless every utterance has a non-empty reference and a hypothesis, which may be empty."""
    problems = []
    if missing := [utt_id for utt_id in ref if utt_id not in hyp]:
        problems.append(f"{len(missing)} of {len(ref)} references have no hypothesis: {name_some(missing)}")
    if extra := [utt_id for utt_id in hyp if utt_id not in ref]:
        problems.append(f"{len(extra)} hypotheses have no reference: {name_some(extra)}")
    if problems:
        raise DataError(
            f"{hyp_name}: {'; '.join(problems)}; expected the utterances of {ref_name}; decode the missing ones"
        )
    if empty := [utt_id for utt_id, text in ref.items() if not text.split()]:
        hint = "expected at least one word each; transcribe or remove these utterances"
        raise DataError(f"{ref_name}: {len(empty)} references are empty: {name_some(empty)}; {hint}")


def name_some(utt_ids: list[str]) -> str:
    """Return the first ids and the number of the others as text for messages."""
    more = len(utt_ids) - NAMED_IN_MESSAGE
    return ", ".join(utt_ids[:NAMED_IN_MESSAGE]) + (f" and {more} more" if more > 0 else "")


def speaker_of(utt_id: str) -> str:
    """Return the speaker part of an utterance id: up to the first ``-``, else up to the first ``_``, else all of it."""
    return utt_id.partition("-")[0] if "-" in utt_id else utt_id.partition("_")[0]


def trn_id(utt_id: str) -> str:
    """Return the id of an utterance in a .trn file."""
    return f"{speaker_of(utt_id)}-{utt_id}"


def trn_lines(texts: Iterable[tuple[str, str]]) -> str:
    """Return the content of a .trn file for pairs of utterance id and text."""
    return "".join(f"{text} ({trn_id(utt_id)})\n" for utt_id, text in texts)


def line_of(path: Path, utt_id: str) -> int:
    """Return the line number, from 1, of an utterance in a valid file."""
    return next(number for number, found, _ in _entries(path) if found == utt_id)


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    return _trn_entries(path) if path.suffix == ".trn" else _kaldi_entries(path)


def _kaldi_entries(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in read_lines(path):
        utt_id, *words = line.split(maxsplit=1)
        if "(" in utt_id or ")" in utt_id:
            where = f"{path}:{number}: found a parenthesis in the utterance id {utt_id!r}"
            raise DataError(f"{where}, expected none, since they mark ids in .trn files; rename the utterance")
        yield number, utt_id, words[0].strip() if words else ""


def _trn_entries(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in read_lines(path):
        if line.startswith(";;"):  # a comment of sclite
            continue
        match = TRN_LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}:{number}: found {line.strip()[-60:]!r}, expected words followed by (utterance-id)")
        utt_id = match["utt_id"]
        without_prefix = utt_id.partition("-")[2]
        yield number, without_prefix if trn_id(without_prefix) == utt_id else utt_id, match["text"].strip()


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and content of each non-blank line."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a text file") from error
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = raw.count(b"\n", 0, error.start) + 1
        found = f"found byte 0x{raw[error.start]:02x}, expected UTF-8"
        raise DataError(f"{path}:{number}: {found}; convert the file, for instance with iconv") from error
    if (place := content.find("\0")) >= 0:
        number = content.count("\n", 0, place) + 1
        raise DataError(
            f"{path}:{number}: found a NUL character, expected text; check that this is a text file in UTF-8"
        )
    for number, line in enumerate(
        content.replace("\ufeff", "").split("\n"), 1
    ):  # byte order marks of concatenated files
        if line.strip():
            yield number, line

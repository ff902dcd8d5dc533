"""Read and write the two text formats that scores are made from: Kaldi's ``text`` and sclite's ``.trn``.

Kaldi ``text``: ``<utterance id> <words>`` on each line. sclite ``.trn``: ``<words> (<id>)``; there
the speaker is what precedes the first ``-`` of the id (``sclite -i rm``), so ids are written as
``<speaker>-<utterance id>``, as ESPnet does, and read back without that prefix.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from speechllm.errors import DataError

Transcripts = dict[str, str]
"""Text by utterance id, in the order of the file; the text of an empty hypothesis is ''."""

NAMED_IN_MESSAGE = 10
"""Utterance ids listed in a message; the others are counted."""

TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<utt_id>[^\s()]+)\)\s*", re.DOTALL)


def read(path: Path) -> Transcripts:
    """Read a ``.trn`` file, or, whatever else its name is, a Kaldi ``text`` file.

    Raises:
        DataError: if there is no such file, or it is not UTF-8, holds no utterance, breaks its
            syntax or names an utterance twice; the message gives the line.
    """
    found: Transcripts = {}
    first_line: dict[str, int] = {}
    for number, utt_id, text in _entries(path):
        if utt_id in found:
            where = f"{path}:{number}: utterance {utt_id} stands here and in line {first_line[utt_id]}"
            raise DataError(f"{where}, expected each id once; remove one of them")
        found[utt_id], first_line[utt_id] = text, number
    if not found:
        raise DataError(f"{path}: found no utterance, expected one on each line; was the file written to its end?")
    return found


def read_ids(path: Path) -> list[str]:
    """Read a list of utterance ids, one on each line; an empty file is an empty list."""
    ids = []
    for number, line in read_lines(path):
        if len(line.split()) != 1:
            raise DataError(f"{path}:{number}: expected one utterance id, found {line.strip()!r}")
        ids.append(line.strip())
    return ids


def read_durations(path: Path, utt_ids: Iterable[str]) -> dict[str, float]:
    """Read Kaldi's ``utt2dur``: ``<utterance id> <seconds>`` on each line; it must hold all of ``utt_ids``."""
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
        raise DataError(f"{path}: {len(missing)} utterances have no duration: {name_some(missing)}; make it anew")
    return durations


def check_same_utterances(ref: Transcripts, hyp: Transcripts, ref_name: object, hyp_name: object) -> None:
    """Raise DataError unless every utterance has a reference with words and a hypothesis, which may be empty."""
    problems = []
    if missing := [utt_id for utt_id in ref if utt_id not in hyp]:
        problems.append(f"{len(missing)} of {len(ref)} references have no hypothesis: {name_some(missing)}")
    if extra := [utt_id for utt_id in hyp if utt_id not in ref]:
        problems.append(f"{len(extra)} hypotheses have no reference: {name_some(extra)}")
    if problems:
        raise DataError(
            f"{hyp_name}: {'; '.join(problems)}; expected the utterances of {ref_name}, decode what is missing"
        )
    if empty := [utt_id for utt_id, text in ref.items() if not text.split()]:
        hint = "expected at least one word each; transcribe or remove these utterances"
        raise DataError(f"{ref_name}: {len(empty)} references are empty: {name_some(empty)}; {hint}")


def name_some(utt_ids: list[str]) -> str:
    """Return the first ids as a list to be read, and how many more there are."""
    more = len(utt_ids) - NAMED_IN_MESSAGE
    return ", ".join(utt_ids[:NAMED_IN_MESSAGE]) + (f" and {more} more" if more > 0 else "")


def speaker_of(utt_id: str) -> str:
    """Return the speaker part of an utterance id: up to its first ``-``, else up to its first ``_``, else all of it."""
    return utt_id.partition("-")[0] if "-" in utt_id else utt_id.partition("_")[0]


def trn_id(utt_id: str) -> str:
    """Return the id under which an utterance stands in a .trn file."""
    return f"{speaker_of(utt_id)}-{utt_id}"


def trn_lines(texts: Iterable[tuple[str, str]]) -> str:
    """Return the content of a .trn file for pairs of an utterance id and its text."""
    return "".join(f"{text} ({trn_id(utt_id)})\n" for utt_id, text in texts)


def line_of(path: Path, utt_id: str) -> int:
    """Return the line, from 1, of an utterance of a file that ``read`` has read."""
    return next(number for number, found, _ in _entries(path) if found == utt_id)


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    return _trn_entries(path) if path.suffix == ".trn" else _kaldi_entries(path)


def _kaldi_entries(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in read_lines(path):
        utt_id, *words = line.split(maxsplit=1)
        if "(" in utt_id or ")" in utt_id:
            where = f"{path}:{number}: found a parenthesis in the utterance id {utt_id!r}"
            raise DataError(f"{where}, expected none, since a .trn file marks ids by them; rename the utterance")
        yield number, utt_id, words[0].strip() if words else ""


def _trn_entries(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in read_lines(path):
        if line.startswith(";;"):  # sclite's comment
            continue
        match = TRN_LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}:{number}: found {line.strip()[-60:]!r}, expected words followed by (utterance-id)")
        utt_id = match["utt_id"]
        without_prefix = utt_id.partition("-")[2]
        yield number, without_prefix if trn_id(without_prefix) == utt_id else utt_id, match["text"].strip()


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and content of each line that is not blank."""
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
        raise DataError(f"{path}:{number}: found a NUL character, expected text; is this a text file, in UTF-8?")
    for number, line in enumerate(
        content.replace("\ufeff", "").split("\n"), 1
    ):  # byte order marks of concatenated files
        if line.strip():
            yield number, line

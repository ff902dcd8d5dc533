"""Validation of data directories."""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.audio.durations import measure_durations
from speechllm.data.kaldi.data_dir import parse_seconds, parse_segment, parse_wav
from speechllm.data.kaldi.table import MAY_BE_EMPTY, Flaw, is_sorted, iter_good_lines, scan_table
from speechllm.data.kaldi.target import names_a_file
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

LONG: Seconds = 30.0
"""Utterances longer than one window of Whisper are counted (seconds)."""
ABSURD: Seconds = 3600.0
"""Longer utterances are errors, usually samples or frames given as seconds (seconds)."""
ROUNDING: Seconds = 0.01
"""Largest allowed error of a duration in a table (seconds)."""

_WITHOUT = {
    "wav.scp": "without audio",
    "segments": "without a segment",
    "text": "without a transcript",
    "utt2spk": "without a speaker",
    "utt2dur": "without a duration",
    "context": "without a context, which may be empty",
}
_EMPTY = "empty transcripts"
_NAMED = 5  # ids per kind in a message

_AT_ONCE = 10_000  # audio files opened per comparison of durations

Row = dict[str, str]
"""Values of one utterance by table, without tables that do not list it."""


class Problems:
    """Numbers of errors by kind, each with the first few ids."""

    def __init__(self) -> None:
        self._number: Counter[str] = Counter()
        self._first: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, what: str) -> None:
        """Count an error of a kind."""
        self._number[kind] += 1
        if len(self._first[kind]) < _NAMED:
            self._first[kind].append(what)

    def ignore(self, kind: str, number: int) -> bool:
        """Remove a kind if its count equals ``number``; return whether it did."""
        if not number or self._number[kind] != number:
            return False
        del self._number[kind]
        return True

    def __bool__(self) -> bool:
        return bool(self._number)

    def __str__(self) -> str:
        """Return a line for each kind."""
        return "\n".join(
            f"  {kind} ({number}): {', '.join(self._first[kind])}{', ...' if number > _NAMED else ''}"
            for kind, number in self._number.items()
        )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Summary of a valid data directory."""

    num_utts: int
    num_speakers: int
    hours: float
    num_long: int
    """Number of utterances over 30 s; training skips and lists them unless the connector supports long speech."""
    num_unnamable: int = 0
    """Number of ids that are not valid file names; verbs that write audio reject them."""
    wordless: bool = False
    """Whether the set is non-speech: there are transcripts, and all are empty."""

    def __str__(self) -> str:
        """Return a one-line summary."""
        long = f", {self.num_long} utterances over {LONG:.0f} s" if self.num_long else ""
        long += f", {self.num_unnamable} ids that are not valid file names" if self.num_unnamable else ""
        wordless = ", non-speech (all transcripts are empty)" if self.wordless else ""
        return f"{self.num_utts} utterances, {self.num_speakers} speakers, {self.hours:.2f} hours{long}{wordless}"


def validate_data_dir(path: str | Path, need_text: bool = True, open_audio: bool = False) -> Summary:
    """Check the tables, their consistency, and that the audio files exist.

    Args:
        path: data directory.
        need_text: whether ``text`` is required; it is checked whenever it exists. Transcripts may be empty only if all
            of them are (a non-speech set).
        open_audio: whether to open every audio file and compare its duration; this is always done with ``segments``.

    Raises:
        DataError: if the directory is invalid; it lists every kind of error with its count and first few ids.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory; write it with `speechllm prepare` or `speechllm import`")
    problems = Problems()
    tables = _open_tables(path, need_text, problems)
    speakers = _Speakers(tables.pop("spk2utt", None), problems)
    audio = _Segments(tables.pop("wav.scp", ()), problems) if "segments" in tables else _Files(open_audio, problems)
    num_utts, num_long, num_unnamable, total = 0, 0, 0, 0.0
    for utt, row in _rows(tables):
        for name in tables:
            if name not in row:
                problems.add(f"{_WITHOUT[name]} (not in {name}, but in another table)", utt)
        if row.get("text") == "":
            problems.add(_EMPTY, utt)
        duration = _duration(utt, row, problems)
        audio.check(utt, row, duration)
        if "utt2spk" in row:
            speakers.check(utt, row["utt2spk"])
        num_utts, num_long, total = num_utts + 1, num_long + (duration > LONG), total + duration
        num_unnamable += not names_a_file(utt)
    audio.finish()
    speakers.finish()
    wordless = problems.ignore(_EMPTY, num_utts)  # a non-speech set is valid
    if problems:
        raise DataError(f"{path}: invalid data directory; `speechllm fix` drops unusable utterances\n{problems}")
    return Summary(
        num_utts=num_utts,
        num_speakers=speakers.number,
        hours=total / 3600,
        num_long=num_long,
        num_unnamable=num_unnamable,
        wordless=wordless,
    )


def _open_tables(path: Path, need_text: bool, problems: Problems) -> dict[str, Iterable[tuple[str, str]]]:
    """Return the valid lines of the existing tables, sorted, each id once."""
    tables: dict[str, Iterable[tuple[str, str]]] = {}
    for name in ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "text", "segments", "context"):
        if (path / name).is_file():
            if (path / name).stat().st_size == 0:
                problems.add("empty tables", name)
            tables[name] = _good_lines(path / name, problems)
        elif name not in ("segments", "context") and (name != "text" or need_text):
            problems.add("missing tables", name)
    return tables


def _good_lines(table: Path, problems: Problems) -> Iterable[tuple[str, str]]:
    """Return the valid lines of a table: read one by one if sorted, else read all and sort."""

    def tell(flaw: Flaw) -> None:
        problems.add(f"{table.name}: {flaw.kind}", f"{flaw.id} (line {flaw.line})")

    allow_empty = table.name in MAY_BE_EMPTY
    if is_sorted(table):
        return iter_good_lines(table, allow_empty, tell)
    rows, flaws = scan_table(table, allow_empty)
    for flaw in flaws:
        tell(flaw)
    return sorted(dict(rows).items())


def _rows(tables: Mapping[str, Iterable[tuple[str, str]]]) -> Iterator[tuple[str, Row]]:
    """Yield every utterance of any table, in order, with its values by table."""
    keyed = (_with_name(rows, name) for name, rows in tables.items())
    for utt, lines in itertools.groupby(heapq.merge(*keyed), lambda line: line[0]):
        yield utt, {name: value for _, name, value in lines}


def _with_name(rows: Iterable[tuple[str, str]], name: str) -> Iterator[tuple[str, str, str]]:
    return ((utt, name, value) for utt, value in rows)


def _duration(utt: str, row: Row, problems: Problems) -> Seconds:
    """Return the duration of an utterance, 0 if there is none."""
    if "utt2dur" not in row:
        return 0.0
    try:
        duration = parse_seconds(row["utt2dur"], utt)
    except DataError:
        problems.add("utt2dur: not a number", f"{utt} ({row['utt2dur']})")
        return 0.0
    if duration <= 0:
        problems.add("utt2dur: not positive", f"{utt} ({duration} s)")
    if duration > ABSURD:
        problems.add(f"utt2dur: over {ABSURD:.0f} s", f"{utt} ({duration} s)")
    return duration


class _Speakers:
    """Compare utt2spk with spk2utt speaker by speaker; both are in the order of the speakers."""

    def __init__(self, spk2utt: Iterable[tuple[str, str]] | None, problems: Problems) -> None:
        self.number = 0
        self._spk2utt = None if spk2utt is None else iter(spk2utt)
        self._found = self._next()
        self._problems = problems
        self._speaker, self._utts = "", list[str]()

    def check(self, utt: str, speaker: str) -> None:
        if not utt.startswith(speaker):
            self._problems.add("ids that do not begin with the speaker's", f"{utt} ({speaker})")
        if speaker < self._speaker:
            self._problems.add("utterances are not grouped by speaker when sorted", utt)
        if speaker != self._speaker:
            self._compare()
            self._speaker, self._utts = speaker, []
            self.number += 1
        self._utts.append(utt)

    def finish(self) -> None:
        self._compare()
        while self._found:
            self._differs(self._found[0])
            self._found = self._next()

    def _compare(self) -> None:
        """Compare the completed speaker with the next entry of spk2utt."""
        while self._found and self._found[0] < self._speaker:
            self._differs(self._found[0])
            self._found = self._next()
        if self._speaker and self._spk2utt is not None:
            if self._found != (self._speaker, " ".join(self._utts)):
                self._differs(self._speaker)
            if self._found and self._found[0] == self._speaker:
                self._found = self._next()

    def _next(self) -> tuple[str, str] | None:
        return next(self._spk2utt, None) if self._spk2utt is not None else None

    def _differs(self, speaker: str) -> None:
        self._problems.add("spk2utt is not the inverse of utt2spk for the speakers", speaker)


class _Files:
    """Check utterances that are whole files; files are opened only if requested, many at a time."""

    def __init__(self, open_audio: bool, problems: Problems) -> None:
        self._open_audio = open_audio
        self._problems = problems
        self._paths: dict[str, Path] = {}
        self._durations: dict[str, Seconds] = {}

    def check(self, utt: str, row: Row, duration: Seconds) -> None:
        path = _there(utt, row["wav.scp"], self._problems) if "wav.scp" in row else None
        if path is not None and self._open_audio:
            self._paths[utt], self._durations[utt] = path, duration
            if len(self._paths) == _AT_ONCE:
                self.finish()

    def finish(self) -> None:
        measured = _measure(self._paths, self._problems)
        for utt, expected in measured.items():
            _compare("audio", utt, self._durations[utt], expected, self._problems)
        self._paths, self._durations = {}, {}


class _Segments:
    """Check utterances that are segments of recordings; recordings are opened to measure their durations."""

    def __init__(self, wav_scp: Iterable[tuple[str, str]], problems: Problems) -> None:
        listed = dict(wav_scp)
        there = {recording: _there(recording, value, problems) for recording, value in listed.items()}
        self._recordings = listed.keys()
        self._measured = _measure({recording: path for recording, path in there.items() if path}, problems)
        self._problems = problems

    def check(self, utt: str, row: Row, duration: Seconds) -> None:
        if "segments" not in row:
            return
        try:
            recording, start, end = parse_segment(row["segments"], utt)
        except DataError:
            self._problems.add("segments: not a recording, start and end", f"{utt} ({row['segments']})")
            return
        if recording not in self._recordings:
            self._problems.add("segments: of a recording that is not in wav.scp", f"{utt} ({recording})")
        elif recording in self._measured:
            end = self._measured[recording] if end is None else end
            if reason := segment_flaw(start, end, self._measured[recording]):
                self._problems.add(f"segments: {reason}", f"{utt} ({row['segments']})")
            if "utt2dur" in row:
                _compare("segment", utt, duration, end - start, self._problems)

    def finish(self) -> None:
        """Do nothing: every check is immediate."""


def _there(recording: str, value: str, problems: Problems) -> Path | None:
    """Return the path of an audio file if it exists."""
    try:
        path = parse_wav(value, recording)
    except DataError:
        problems.add("wav.scp: a command instead of a path", recording)
        return None
    if not path.is_file():
        problems.add("missing audio files", f"{recording} ({path})")
        return None
    return path


def _measure(paths: Mapping[str, Path], problems: Problems) -> dict[str, Seconds]:
    measured, broken = measure_durations(paths, "opening the audio")
    for reason in broken.values():
        problems.add("unusable audio files", reason)
    return measured


def _compare(whole: str, utt: str, found: Seconds, expected: Seconds, problems: Problems) -> None:
    if abs(found - expected) > ROUNDING:
        problems.add(f"utt2dur: not the duration of the {whole}", f"{utt} ({found} s, expected {expected:.3f} s)")


def segment_flaw(start: Seconds, end: Seconds, duration: Seconds) -> str | None:
    """Return the error of a segment of audio with this duration; None if it is valid."""
    if start < 0 or end <= start:
        return "empty or negative"
    if end > duration + 1e-5:  # half a sample at 48 kHz
        return "beyond the end of the audio"
    return None


def overlaps(start: Seconds, end: Seconds, reached: Seconds) -> bool:
    """Return whether more than half of a segment is before ``reached``, the end of earlier segments."""
    return reached - start > (end - start) / 2

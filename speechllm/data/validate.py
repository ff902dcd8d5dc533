"""Find all that is wrong with a data directory."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.data_dir import invert, parse_seconds, parse_segment, parse_wav
from speechllm.data.durations import measure_durations
from speechllm.data.table import scan_table
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

LONG: Seconds = 30.0
"""Longer utterances are reported: they do not fit into one window of Whisper."""
ABSURD: Seconds = 3600.0
"""Longer utterances are errors: most often somebody wrote samples or frames for seconds."""
ROUNDING: Seconds = 0.01
"""By which a duration in a table may differ from what it should be."""

_WITHOUT = {
    "wav.scp": "without audio",
    "segments": "without a segment",
    "text": "without a transcript",
    "utt2spk": "without a speaker",
    "utt2dur": "without a duration",
}
_NAMED = 5  # ids of each kind that a message names

Problems = defaultdict[str, list[str]]
Tables = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a valid data directory holds."""

    num_utts: int
    num_speakers: int
    hours: float
    num_long: int
    """Utterances over 30 s, which are listed and skipped in training unless the connector takes long speech."""

    def __str__(self) -> str:
        """Return one line for people."""
        long = f", {self.num_long} utterances over {LONG:.0f} s" if self.num_long else ""
        return f"{self.num_utts} utterances, {self.num_speakers} speakers, {self.hours:.2f} hours{long}"


def validate_data_dir(path: str | Path, need_text: bool = True, open_audio: bool = False) -> Summary:
    """Check the tables, each and against each other, and that the audio files are there.

    Args:
        path: the directory.
        need_text: whether ``text`` must be there; if it is, it is checked in any case.
        open_audio: whether every audio file is opened, too, and its duration compared; with ``segments``
            this is always done.

    Raises:
        DataError: if anything is wrong, listing every kind of problem with its count and first few ids.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory; `speechllm prepare` writes those of a corpus")
    problems: Problems = defaultdict(list)
    tables = _scan(path, need_text, problems)
    _compare_ids(tables, problems)
    _check_speakers(tables, problems)
    problems["empty transcripts"] += [utt for utt, text in tables.get("text", {}).items() if not text]
    durations = _check_durations(tables, problems)
    _check_audio(tables, durations, open_audio, problems)
    found = {kind: ids for kind, ids in problems.items() if ids}
    if found:
        raise DataError(
            f"{path}: not a valid data directory; `speechllm fix` drops what cannot be used\n{_list(found)}"
        )
    return Summary(
        num_utts=len(tables["utt2spk"]),
        num_speakers=len(set(tables["utt2spk"].values())),
        hours=sum(durations.values()) / 3600,
        num_long=sum(duration > LONG for duration in durations.values()),
    )


def _list(problems: Mapping[str, list[str]]) -> str:
    lines = []
    for kind, ids in problems.items():
        more = ", ..." if len(ids) > _NAMED else ""
        lines.append(f"  {kind} ({len(ids)}): {', '.join(ids[:_NAMED])}{more}")
    return "\n".join(lines)


def _scan(path: Path, need_text: bool, problems: Problems) -> Tables:
    """Read the tables that are there."""
    tables = {}
    for name in ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "text", "segments"):
        if (path / name).is_file():
            rows, flaws = scan_table(path / name, allow_empty=name == "text")
            for flaw in flaws:
                problems[f"{name}: {flaw.kind}"].append(f"{flaw.id} (line {flaw.line})")
            tables[name] = dict(rows)
            if not rows:
                problems["empty tables"].append(name)
        elif name != "segments" and (name != "text" or need_text):
            problems["missing tables"].append(name)
    return tables


def _compare_ids(tables: Tables, problems: Problems) -> None:
    audio = "segments" if "segments" in tables else "wav.scp"
    names = [name for name in (audio, "text", "utt2spk", "utt2dur") if name in tables]
    utts = sorted({utt for name in names for utt in tables[name]})
    for name in names:
        problems[f"{_WITHOUT[name]} (not in {name}, but in another table)"] += [
            u for u in utts if u not in tables[name]
        ]


def _check_speakers(tables: Tables, problems: Problems) -> None:
    utt2spk = tables.get("utt2spk", {})
    problems["ids that do not begin with the speaker's"] += [
        f"{utt} ({speaker})" for utt, speaker in utt2spk.items() if not utt.startswith(speaker)
    ]
    speakers = [utt2spk[utt] for utt in sorted(utt2spk)]
    if speakers != sorted(speakers):
        problems["utterances are not grouped by speaker when sorted"] += [
            utt for utt, last in zip(sorted(utt2spk)[1:], speakers, strict=False) if utt2spk[utt] < last
        ]
    if "spk2utt" in tables:
        expected, found = invert(utt2spk), tables["spk2utt"]
        different = sorted(spk for spk in expected.keys() | found.keys() if expected.get(spk) != found.get(spk))
        problems["spk2utt is not the inverse of utt2spk for the speakers"] += different


def _check_durations(tables: Tables, problems: Problems) -> dict[str, Seconds]:
    durations = {}
    for utt, value in tables.get("utt2dur", {}).items():
        try:
            durations[utt] = parse_seconds(value, utt)
        except DataError:
            problems["utt2dur: not a number"].append(f"{utt} ({value})")
    problems["utt2dur: not positive"] += [f"{utt} ({dur} s)" for utt, dur in durations.items() if dur <= 0]
    problems[f"utt2dur: over {ABSURD:.0f} s"] += [f"{utt} ({dur} s)" for utt, dur in durations.items() if dur > ABSURD]
    return durations


def _check_audio(tables: Tables, durations: Mapping[str, Seconds], open_audio: bool, problems: Problems) -> None:
    """Check that the audio files are there and, where they are opened, that the utterances lie in them."""
    paths = {}
    for recording, value in tables.get("wav.scp", {}).items():
        try:
            paths[recording] = parse_wav(value, recording)
        except DataError:
            problems["wav.scp: a command instead of a path"].append(recording)
    problems["audio files that are not there"] += [f"{key} ({p})" for key, p in paths.items() if not p.is_file()]
    paths = {key: path for key, path in paths.items() if path.is_file()}
    if "segments" not in tables and not open_audio:
        return
    measured, broken = measure_durations(paths, "opening the audio")
    problems["audio files that cannot be used"] += broken.values()
    if "segments" in tables:
        _check_segments(tables, measured, durations, problems)
    else:
        problems["utt2dur: not the duration of the audio"] += _differing(measured, durations)


def _check_segments(
    tables: Tables, measured: Mapping[str, Seconds], durations: Mapping[str, Seconds], problems: Problems
) -> None:
    lengths = {}
    for utt, value in tables["segments"].items():
        try:
            recording, start, end = parse_segment(value, utt)
        except DataError:
            problems["segments: not a recording, start and end"].append(f"{utt} ({value})")
            continue
        if recording not in tables.get("wav.scp", {}):
            problems["segments: of a recording that is not in wav.scp"].append(f"{utt} ({recording})")
        elif recording in measured:
            end = measured[recording] if end is None else end
            if reason := segment_flaw(start, end, measured[recording]):
                problems[f"segments: {reason}"].append(f"{utt} ({value})")
            lengths[utt] = end - start
    problems["utt2dur: not the duration of the segment"] += _differing(lengths, durations)


def segment_flaw(start: Seconds, end: Seconds, duration: Seconds) -> str | None:
    """Return what is wrong with a segment of audio of this duration."""
    if start < 0 or end <= start:
        return "empty or negative"
    if end > duration + 1e-5:  # half a sample at 48 kHz
        return "beyond the end of the audio"
    return None


def overlaps(start: Seconds, end: Seconds, reached: Seconds) -> bool:
    """Return whether more than half of a segment lies before ``reached``, where earlier ones end."""
    return reached - start > (end - start) / 2


def _differing(expected: Mapping[str, Seconds], found: Mapping[str, Seconds]) -> list[str]:
    return [
        f"{utt} ({found[utt]} s, expected {expected[utt]:.3f} s)"
        for utt in expected
        if utt in found and abs(found[utt] - expected[utt]) > ROUNDING
    ]

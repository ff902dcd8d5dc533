"""NIST's STM (segment time mark) files: reference transcripts of telephone speech and broadcasts.

Each line is ``recording channel speaker begin end [<labels>] text``, with times in seconds; ``;;`` begins a comment.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from speechllm.errors import DataError
from speechllm.score.transcripts import read_lines

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Transcript of one speaker in a segment of one channel of a recording."""

    recording: str
    channel: str
    speaker: str
    start: float
    """Start (seconds)."""
    end: float
    """End (seconds)."""
    labels: str = ""
    """Categories, such as ``<O,en,F>``."""
    text: str = ""
    where: str = field(default="", compare=False)
    """File and line for messages."""

    @property
    def scored(self) -> bool:
        """Whether the segment is scored; False if its text is ``IGNORE_TIME_SEGMENT_IN_SCORING``."""
        return self.text.strip().upper() != IGNORED


def read_stm(path: Path) -> list[Segment]:
    """Read an STM file and return its segments in the order of recording, channel and time.

    Raises:
        DataError: if the file cannot be read, is malformed (with the line), or has no segment.
    """
    lines = ((number, line) for number, line in read_lines(path) if not line.startswith(";;"))
    segments = [parse_line(line, f"{path}:{number}") for number, line in lines]
    if not segments:
        raise DataError(f"{path}: found no segment, expected one per line; check that the file is complete")
    return sorted(segments, key=lambda segment: (segment.recording, segment.channel, segment.start))


def parse_line(line: str, where: str) -> Segment:
    """Parse one line; ``where`` is for errors.

    Raises:
        DataError: if the line is malformed.
    """
    parts = line.split(maxsplit=5)
    try:
        recording, channel, speaker, *times = parts[:5]
        start, end = (float(time) for time in times)
    except ValueError as error:
        expected = "expected: recording channel speaker begin end [<labels>] text"
        raise DataError(f"{where}: {expected}, found {line.strip()!r}") from error
    if not 0 <= start < end < math.inf:
        raise DataError(f"{where}: found {start:g} to {end:g} s, expected a start before the end")
    labels, text = _split_labels(parts[5] if len(parts) > 5 else "")
    return Segment(
        recording=recording,
        channel=channel,
        speaker=speaker,
        start=start,
        end=end,
        labels=labels,
        text=text,
        where=where,
    )


def stm_lines(segments: Iterable[Segment]) -> str:
    """Return the content of an STM file."""
    return "".join(
        " ".join(filter(None, (s.recording, s.channel, s.speaker, f"{s.start:.3f} {s.end:.3f}", s.labels, s.text)))
        + "\n"
        for s in segments
    )


def _split_labels(rest: str) -> tuple[str, str]:
    if rest.startswith("<") and ">" in rest:
        labels, _, text = rest.partition(">")
        return f"{labels}>", text.strip()
    return "", rest.strip()

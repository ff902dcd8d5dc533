"""Transcript of a recording with times, and its output formats."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from speechllm.interfaces import Hypothesis, Seconds, TimedWord


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A window of a recording with its hypotheses."""

    start: Seconds
    end: Seconds
    text: str
    nbest: Sequence[Hypothesis]
    """Hypotheses, best first, with the log-probability of each token; empty if nothing was decoded."""
    warnings: Sequence[str] = ()
    """Warnings: ``silence``, ``empty``, ``loop``, ``truncated``, ``unsure``, ``untimed`` (requested word times are
    missing)."""
    words: Sequence[TimedWord] = ()
    """Words of the text with their times in the recording; empty unless ``decode.word_times`` is set."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """Transcript of one recording."""

    source: str
    """Path of the file, ``-``, or ``samples``."""
    duration: Seconds
    segments: Sequence[Segment]

    @property
    def text(self) -> str:
        """Text of all segments, in one line."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def warnings(self) -> list[str]:
        """Warnings of segments with their times: ``12.0-24.5 s: loop, unsure``."""
        return [f"{one.start:.1f}-{one.end:.1f} s: {', '.join(one.warnings)}" for one in self.segments if one.warnings]


def to_txt(transcript: Transcript) -> str:
    """Return a line of text."""
    return f"{transcript.text}\n"


def to_json(transcript: Transcript) -> str:
    """Return all values as JSON; word times are in the segments."""
    tree = {"source": transcript.source, "duration": transcript.duration, "text": transcript.text}
    segments = [asdict(segment) for segment in transcript.segments]
    for hypothesis in (one for segment in segments for one in segment["nbest"]):
        del hypothesis["words"]
    return json.dumps({**tree, "segments": segments}, ensure_ascii=False, indent=1) + "\n"


def to_srt(transcript: Transcript) -> str:
    """Return SubRip subtitles: one for each word if there are word times, otherwise one for each segment with text."""
    return "".join(
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{text}\n\n"
        for number, (start, end, text) in enumerate(_cues(transcript), 1)
    )


def to_vtt(transcript: Transcript) -> str:
    """Return WebVTT subtitles (W3C) for the same words or segments as ``to_srt``."""
    return "WEBVTT\n\n" + "".join(
        f"{_time(start, '.')} --> {_time(end, '.')}\n{_escaped(text)}\n\n" for start, end, text in _cues(transcript)
    )


FORMATS: dict[str, Callable[[Transcript], str]] = {"txt": to_txt, "json": to_json, "srt": to_srt, "vtt": to_vtt}
"""Functions from a transcript to the content of a file, by the suffix of the file."""


def _cues(transcript: Transcript) -> list[tuple[Seconds, Seconds, str]]:
    """Return start, end and text of each subtitle; a word without times is appended to the previous word."""
    cues: list[tuple[Seconds, Seconds, str]] = []
    for segment in transcript.segments:
        timed = [(word.word, word.start, word.end) for word in segment.words]
        if not any(start is not None for _, start, _ in timed):
            cues += [(segment.start, segment.end, segment.text)] * bool(segment.text)
            continue
        waiting = ""
        for word, start, end in timed:
            if start is not None and end is not None:
                cues.append((start, end, waiting + word))
                waiting = ""
            elif cues and cues[-1][0] >= segment.start:
                cues[-1] = (*cues[-1][:2], f"{cues[-1][2]} {word}")
            else:
                waiting += f"{word} "
    return cues


def _escaped(text: str) -> str:
    """Return ``text`` with escapes for the markup characters of WebVTT."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: Seconds, point: str) -> str:
    """Return ``01:02:03.456``, with ``point`` before the milliseconds."""
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"

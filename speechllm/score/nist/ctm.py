"""NIST's time-marked conversations: words of a hypothesis, each with its time.

Each line: ``recording channel begin duration word [confidence]``, times in seconds; ``;;`` begins a comment. Between
lines with the words ``<ALT_BEGIN>``, ``<ALT>`` and ``<ALT_END>`` stand alternatives.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechllm.errors import DataError
from speechllm.score.nist.stm import Segment
from speechllm.score.transcripts import name_some, read_lines

UTTERANCE_WORDS = "words.ctm"
"""File of a decoding with word times, whose recordings are the utterances."""
ALTERNATIVES = {"<ALT_BEGIN>": "{", "<ALT>": "/", "<ALT_END>": "}"}


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word and where it is heard; or a mark of alternatives, ``{``, ``/`` or ``}``, which has the time of a word."""

    recording: str
    channel: str
    start: float
    """Seconds."""
    duration: float
    """Seconds."""
    word: str
    confidence: float | None = None
    """Read and written, but not scored."""

    @property
    def middle(self) -> float:
        """Seconds."""
        return self.start + self.duration / 2


def read_ctm(path: Path) -> list[Word]:
    """Read a CTM file; words come in the order of recording, channel and time.

    Raises:
        DataError: if it cannot be read or a line is wrong; the message gives it.
    """
    words: list[Word] = []
    marks: list[str] = []  # that wait for the time of the word behind them
    for number, line in read_lines(path):
        if line.startswith(";;"):
            continue
        parts = line.split()
        if len(parts) > 4 and parts[4] in ALTERNATIVES:
            marks.append(ALTERNATIVES[parts[4]])
            continue
        word = _word(parts, f"{path}:{number}", line)
        words += [_mark(mark, word) for mark in marks] + [word]
        marks = []
    words += [_mark(mark, words[-1]) for mark in marks] if words else []
    if any(word.word in ALTERNATIVES.values() for word in words):  # whose words stand one alternative after the other
        return sorted(words, key=lambda word: (word.recording, word.channel))
    return sorted(words, key=lambda word: (word.recording, word.channel, word.start))


def ctm_lines(words: Iterable[Word]) -> str:
    """Return the content of a CTM file; marks of alternatives are written as such."""
    names = {mark: name for name, mark in ALTERNATIVES.items()}
    lines = []
    for word in words:
        place = f"{word.recording} {word.channel}"
        confidence = "" if word.confidence is None else f" {word.confidence:.3f}"
        if word.word in names:
            lines.append(f"{place} * * {names[word.word]}\n")
        else:
            lines.append(f"{place} {word.start:.3f} {word.duration:.3f} {word.word}{confidence}\n")
    return "".join(lines)


def words_of(
    segments: Mapping[str, Segment],
    texts: Mapping[str, str],
    name: object,
    timed: Mapping[str, Sequence[Word]] | None = None,
) -> list[Word]:
    """Return the words of the hypotheses of segments, in the order of a CTM file.

    The words of a segment without word times are spread evenly over it.

    Args:
        segments: recording, channel and time of each utterance.
        texts: hypothesis of each.
        name: of the hypotheses, for messages.
        timed: words of some utterances, with times from the beginning of the utterance.

    Raises:
        DataError: if a segment has no hypothesis, or the words with times are not those of the hypothesis.
    """
    timed = timed or {}
    if missing := [utt_id for utt_id in segments if utt_id not in texts]:
        raise DataError(
            f"{name}: {len(missing)} segments have no hypothesis: {name_some(missing)}; decode what is missing"
        )
    order = sorted(
        segments, key=lambda utt_id: (segments[utt_id].recording, segments[utt_id].channel, segments[utt_id].start)
    )
    return [
        word
        for utt_id in order
        for word in (
            _placed(segments[utt_id], texts[utt_id], timed[utt_id], f"{name}: {utt_id}")
            if utt_id in timed
            else spread(segments[utt_id], texts[utt_id])
        )
    ]


def spread(segment: Segment, text: str) -> list[Word]:
    """Return the words of a hypothesis of a segment, spread evenly over it."""
    words = text.split()
    duration = (segment.end - segment.start) / max(1, len(words))
    return [
        Word(
            recording=segment.recording,
            channel=segment.channel,
            start=segment.start + k * duration,
            duration=duration,
            word=word,
        )
        for k, word in enumerate(words)
    ]


def _placed(segment: Segment, text: str, words: Sequence[Word], where: str) -> list[Word]:
    """Return words with times from the beginning of a segment as words of its recording, none beyond its end."""
    if (found := [word.word for word in words]) != text.split():
        raise DataError(
            f"{where}: found times of the words {' '.join(found)!r}, expected those of the hypothesis {text!r}; "
            f"decode that set again, or remove {UTTERANCE_WORDS}"
        )
    placed = []
    for word in words:
        start = min(segment.start + word.start, segment.end)
        end = min(segment.start + word.start + word.duration, segment.end)
        one = replace(word, recording=segment.recording, channel=segment.channel, start=start, duration=end - start)
        placed.append(one)
    return placed


def _word(parts: list[str], where: str, line: str) -> Word:
    try:
        recording, channel, start, duration, word, *confidence = parts
        if len(confidence) > 1:
            raise ValueError
        begin, length = float(start), float(duration)
        if not (math.isfinite(begin) and 0 <= length < math.inf):
            raise ValueError
        return Word(
            recording=recording,
            channel=channel,
            start=begin,
            duration=length,
            word=word,
            confidence=float(confidence[0]) if confidence else None,
        )
    except ValueError as error:
        expected = "expected: recording channel begin duration word [confidence], with finite times"
        raise DataError(f"{where}: {expected}, found {line.strip()!r}") from error


def _mark(mark: str, word: Word) -> Word:
    return Word(recording=word.recording, channel=word.channel, start=word.start, duration=word.duration, word=mark)

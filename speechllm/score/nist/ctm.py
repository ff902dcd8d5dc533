"""NIST's CTM (time-marked conversation) files: words of hypotheses with their times.

Each line is ``recording channel begin duration word [confidence]``, with times in seconds; ``;;`` begins a comment.
Alternatives are between lines with the words ``<ALT_BEGIN>``, ``<ALT>`` and ``<ALT_END>``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechllm.errors import DataError
from speechllm.score.nist.stm import Segment
from speechllm.score.transcripts import name_some, read_lines

UTTERANCE_WORDS = "words.ctm"
"""Output of decoding with word times; its recordings are the utterances."""
ALTERNATIVES = {"<ALT_BEGIN>": "{", "<ALT>": "/", "<ALT_END>": "}"}


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word and its time; or a mark of alternatives, ``{``, ``/`` or ``}``, with the time of a word."""

    recording: str
    channel: str
    start: float
    """Start of the word (seconds)."""
    duration: float
    """Duration of the word (seconds)."""
    word: str
    confidence: float | None = None
    """Confidence; not used in scoring."""

    @property
    def middle(self) -> float:
        """Middle of the word (seconds)."""
        return self.start + self.duration / 2


def read_ctm(path: Path) -> list[Word]:
    """Read a CTM file and return its words in the order of recording, channel and time.

    Raises:
        DataError: if the file cannot be read or is malformed; with the line.
    """
    words: list[Word] = []
    marks: list[str] = []  # marks that get the time of the next word
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
    if any(
        word.word in ALTERNATIVES.values() for word in words
    ):  # alternatives are listed in succession, so times go back
        return sorted(words, key=lambda word: (word.recording, word.channel))
    return sorted(words, key=lambda word: (word.recording, word.channel, word.start))


def ctm_lines(words: Iterable[Word]) -> str:
    """Return the content of a CTM file, including marks of alternatives."""
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
    """Return the words of segment hypotheses in the order of a CTM file.

    Words without times are spread evenly over their segment.

    Args:
        segments: recording, channel and time of each utterance.
        texts: hypothesis of each utterance.
        name: file of the hypotheses, for messages.
        timed: words of some utterances, with times relative to the start of the utterance.

    Raises:
        DataError: if a segment has no hypothesis, or the timed words differ from the hypothesis.
    """
    timed = timed or {}
    if missing := [utt_id for utt_id in segments if utt_id not in texts]:
        raise DataError(f"{name}: {len(missing)} segments have no hypothesis: {name_some(missing)}; decode them")
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
    """Return the words of a hypothesis, spread evenly over its segment."""
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
    """Return words with times relative to a segment as words of its recording, clipped to the segment."""
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

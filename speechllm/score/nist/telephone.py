"""Scoring of segmented recordings, a CTM file against an STM file, as in NIST's hubscr.

Each word of the hypothesis belongs to the first segment of its channel that ends after the middle of the word, or to
the last segment. References may contain alternatives, optional words and fragments (see ``network``).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from speechllm.errors import DataError
from speechllm.score.nist.ctm import Word
from speechllm.score.nist.glm import Glm
from speechllm.score.nist.network import align_network, tokenize
from speechllm.score.nist.stm import IGNORED, Segment
from speechllm.score.wer import ScoredUtterance

MARKS = frozenset("{/}")


@dataclass(frozen=True, kw_only=True)
class ScoredSegment(ScoredUtterance):
    """Aligned segment; its id consists of its speaker and its number among the speaker's segments."""

    segment: Segment

    @property
    def speaker(self) -> str:
        """Speaker in the STM file."""
        return self.segment.speaker

    @property
    def trn_id(self) -> str:
        """Id as in sclite."""
        return self.utt_id

    @property
    def notes(self) -> str:
        """Labels, file and channel, in sclite's format."""
        labels = f"Labels: {self.segment.labels}\n" if self.segment.labels else ""
        return f"{labels}File: {self.segment.recording}\nChannel: {self.segment.channel}\n"


def durations_of(utterances: Sequence[ScoredUtterance]) -> dict[str, float]:
    """Return the duration of each segment (seconds); other utterances are left out."""
    return {one.utt_id: one.segment.end - one.segment.start for one in utterances if isinstance(one, ScoredSegment)}


def map_segments(segments: Sequence[Segment], glm: Glm) -> list[Segment]:
    """Apply a global mapping to the references."""
    return [replace(segment, text=glm(segment.text)) if segment.scored else segment for segment in segments]


def map_words(words: Sequence[Word], glm: Glm) -> list[Word]:
    """Apply a global mapping to each word; its replacements share its time, and each alternative spans all of it."""
    mapped: list[Word] = []
    for word in words:
        if word.word in MARKS:
            mapped.append(word)
            continue
        alternative: list[str] = []
        for token in [*glm(word.word).split(), ""]:
            if token and token not in MARKS:
                alternative.append(token)
                continue
            duration = word.duration / max(1, len(alternative))
            mapped += [
                replace(word, word=part, start=word.start + k * duration, duration=duration)
                for k, part in enumerate(alternative)
            ]
            mapped += [replace(word, word=token)] if token else []
            alternative = []
    return mapped


def score_segments(
    segments: Sequence[Segment], words: Sequence[Word], ref_name: object = "references", hyp_name: object = "hypotheses"
) -> list[ScoredSegment]:
    """Align every scored segment with its words.

    Args:
        segments: segments in the order of recording, channel and time, as from ``read_stm``.
        words: words in the same order.
        ref_name: file of the segments, for messages.
        hyp_name: file of the words, for messages.

    Raises:
        DataError: if a channel with words has no segment, or no segment is scored.
    """
    numbers: defaultdict[str, int] = defaultdict(int)
    scored = []
    for segment, hyp in zip(segments, assign(segments, words, hyp_name), strict=True):
        if not segment.scored:
            continue
        try:
            columns = align_network(tokenize(segment.text), [word.word for word in hyp])
        except DataError as error:
            where = segment.where or f"{ref_name}: segment at {segment.start:g} s"
            raise DataError(f"{where}, or its words in {hyp_name}: {error}") from error
        scored.append(
            ScoredSegment(
                utt_id=f"{segment.speaker}-{numbers[segment.speaker]:03d}",
                ref=[column.ref for column in columns if column.ref],
                hyp=[column.hyp for column in columns if column.hyp],
                alignment="".join(column.letter for column in columns),
                segment=segment,
            )
        )
        numbers[segment.speaker] += 1
    if not scored:
        raise DataError(f"{ref_name}: found no segment to score, expected at least one without the text {IGNORED}")
    return scored


def assign(segments: Sequence[Segment], words: Sequence[Word], hyp_name: object = "hypotheses") -> list[list[Word]]:
    """Return the words of each segment, including segments that are not scored."""
    by_channel: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, segment in enumerate(segments):
        by_channel[segment.recording, segment.channel].append(place)
    found: list[list[Word]] = [[] for _ in segments]
    reached: dict[tuple[str, str], int] = dict.fromkeys(by_channel, 0)
    for word in words:
        channel = word.recording, word.channel
        if channel not in by_channel:
            raise DataError(
                f"{hyp_name}: word {word.word!r} at {word.start:g} s: found it in recording {channel[0]}, "
                f"channel {channel[1]}, expected a channel with a reference segment; correct the file"
            )
        places = by_channel[channel]
        while reached[channel] < len(places) - 1 and word.middle >= segments[places[reached[channel]]].end:
            reached[channel] += 1
        found[places[reached[channel]]].append(word)
    return found

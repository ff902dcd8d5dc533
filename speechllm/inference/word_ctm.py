"""Word times of a decoding as a CTM file, ``words.ctm``, with utterances as recordings."""

from collections.abc import Mapping
from pathlib import Path

from speechllm.atomic import new_file
from speechllm.interfaces import Hypothesis
from speechllm.score.nist.ctm import UTTERANCE_WORDS, Word, ctm_lines


def write_words(out_dir: Path, hypotheses: Mapping[str, Hypothesis]) -> str:
    """Write ``words.ctm``, or remove an outdated one; return text about words without times for a log line.

    An utterance with a word without times is left out.

    Args:
        out_dir: directory of the hypotheses.
        hypotheses: best hypothesis of each utterance, in the order of the file.
    """
    words = [word for one in hypotheses.values() for word in one.words]
    if not words:
        (out_dir / UTTERANCE_WORDS).unlink(missing_ok=True)
        return ""
    lines = [line for utt_id, one in hypotheses.items() for line in _lines(utt_id, one)]
    with new_file(out_dir / UTTERANCE_WORDS) as path:
        path.write_text(ctm_lines(lines), encoding="utf-8")
    untimed = sum(word.start is None for word in words)
    return f"; {untimed} of {len(words)} words without times"


def _lines(utt_id: str, hypothesis: Hypothesis) -> list[Word]:
    found = []
    for word in hypothesis.words:
        if word.start is None or word.end is None:
            return []
        duration = round(word.end - word.start, 3)
        found.append(
            Word(
                recording=utt_id,
                channel="1",
                start=word.start,
                duration=duration,
                word=word.word,
                confidence=word.confidence,
            )
        )
    return found

"""Hallucinated words: words in hypotheses of non-speech."""

from collections.abc import Mapping
from pathlib import Path

from speechllm.score import transcripts
from speechllm.score.failures import LOOP_REPEATS, most_repeats
from speechllm.score.markdown import markdown_table

TABLE = "non_speech.md"
COLUMNS = ("kind", "Utt", "with words", "words", "words a minute", "loops")


def score_non_speech(hyp_path: Path, utt2dur: Path) -> str:
    """Count the words in hypotheses of non-speech.

    Args:
        hyp_path: hypotheses, Kaldi ``text`` or ``.trn``.
        utt2dur: durations (seconds).

    Returns:
        A Markdown table with a row for each speaker (the kind of sound) and one for all.

    Raises:
        DataError: if a file is malformed, or a duration is missing.
    """
    hyp = transcripts.read(hyp_path)
    durations = transcripts.read_durations(utt2dur, hyp)
    kinds: dict[str, list[str]] = {}
    for utt_id in hyp:
        kinds.setdefault(transcripts.speaker_of(utt_id), []).append(utt_id)
    rows = [_row(kind, utt_ids, hyp, durations) for kind, utt_ids in {**kinds, "all": list(hyp)}.items()]
    return markdown_table([COLUMNS, *rows])


def _row(
    kind: str, utt_ids: list[str], hyp: transcripts.Transcripts, durations: Mapping[str, float]
) -> tuple[str, ...]:
    texts = [hyp[utt_id].split() for utt_id in utt_ids]
    words, minutes = sum(map(len, texts)), sum(durations[utt_id] for utt_id in utt_ids) / 60
    loops = sum(most_repeats(text) >= LOOP_REPEATS for text in texts)
    with_words = sum(bool(text) for text in texts)
    return kind, str(len(texts)), str(with_words), str(words), f"{words / minutes:.1f}" if minutes else "-", str(loops)

"""The score of a set as plain numbers: for tables, records of results and packed models."""

from dataclasses import asdict, dataclass
from typing import Any

from speechllm.score.directory import Summary
from speechllm.score.wer import Unit

DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """Rates (percent) and counts of a set; None: not known."""

    wer: float
    """Word error rate; character error rate where ``unit`` is ``character``."""
    interval: tuple[float, float] | None = None
    """95% confidence interval of the rate."""
    utterances: int | None = None
    words: int | None = None
    """Words of the references, or characters."""
    correct: float | None = None
    substitutions: float | None = None
    deletions: float | None = None
    insertions: float | None = None
    sentence_errors: float | None = None
    """Share of utterances with an error."""
    empty: int | None = None
    """Hypotheses that are empty before normalisation."""
    emptied: int | None = None
    """Hypotheses that normalisation empties."""
    stripped: int | None = None
    """Hypotheses with digits or letters that the normaliser deletes."""
    stripped_references: int | None = None
    loops: int | None = None
    truncated: int | None = None
    deletion_bursts: int | None = None
    refusals: int | None = None
    normalizer: str = ""
    raw_wer: float | None = None
    """Rate without normalisation."""
    unit: Unit = "word"


def set_score(summary: Summary, *, characters: bool = False) -> SetScore | None:
    """Return the score of a set by words, or by characters; None if the set was not scored so.

    Sets of languages without spaces between words are scored by characters alone.
    """
    rate = summary.cer if characters else summary.wer
    if summary.unit == "character":
        rate = summary.wer if characters else None
    if rate is None:
        return None
    correct, substitutions, deletions, insertions, error_rate, sentence_errors = rate.counts.percentages
    return SetScore(
        wer=error_rate,
        interval=rate.interval,
        utterances=rate.counts.sentences,
        words=rate.counts.words,
        correct=correct,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        sentence_errors=sentence_errors,
        empty=len(summary.empty),
        emptied=len(summary.emptied),
        stripped=len(summary.stripped),
        stripped_references=len(summary.stripped_references),
        loops=len(summary.loops),
        truncated=None if summary.truncated is None else len(summary.truncated),
        deletion_bursts=len(summary.deletion_bursts),
        refusals=len(summary.refusals),
        normalizer=summary.normalizer,
        raw_wer=summary.raw.percentages[4],
        unit=summary.unit,
    )


def known_entries(score: SetScore) -> dict[str, Any]:
    """Return the known fields of a score for JSON, rates rounded to four decimals."""
    known = {name: value for name, value in asdict(score).items() if value not in (None, "", "word")}
    if score.interval is not None:
        known["interval"] = [round(bound, DIGITS) for bound in score.interval]
    return {name: round(value, DIGITS) if isinstance(value, float) else value for name, value in known.items()}

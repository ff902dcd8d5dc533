"""Tables of scores, and the generated part of RESULTS.md.

Text outside the two marker lines is never changed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from speechllm.errors import DataError
from speechllm.report import rtfx
from speechllm.report.runs import describe_runs
from speechllm.report.set_score import SetScore, set_score
from speechllm.score.directory import SUMMARY, Summary, read_summary, write_whole
from speechllm.score.failures import BURST_WORDS
from speechllm.score.markdown import markdown_table
from speechllm.score.non_speech import TABLE as NON_SPEECH_TABLE

BEGIN = "<!-- generated: begin -->"
END = "<!-- generated: end -->"
SHARED_SECTIONS = {"## Environment", "## Command"}
"""Sections of earlier versions, where all tables shared one environment."""
COLUMNS = ("Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "95% interval")
COUNTED = {
    "Empty": "empty",
    "Emptied": "emptied",
    "Stripped": "stripped",
    "Loops": "loops",
    "Truncated": "truncated",
    "Deletion bursts": "deletion_bursts",
    "Refusals": "refusals",
}
"""Heads of the columns of counts, and their fields in ``SetScore``; columns without a count above 0 are left out."""


def is_control(name: str) -> bool:
    """Return whether a decoding is a shuffled-audio control."""
    return name.endswith("_shuffled")


def collect(exp: Path) -> dict[str, Summary]:
    """Return all scores below ``exp/decode`` by the names of ``find_scores``."""
    return {name: read_summary(path / SUMMARY) for name, path in find_scores(exp).items()}


def find_scores(exp: Path) -> dict[str, Path]:
    """Return all score directories below ``exp/decode`` by the name of the decoding.

    The name of ``exp/decode/<set>/score`` is ``<set>``; other names are paths below ``decode``.

    Raises:
        DataError: if there are none.
    """
    root = exp / "decode"
    paths = sorted(path.parent for path in root.rglob(SUMMARY))
    if not paths:
        raise DataError(f"{root}: found no {SUMMARY}, expected decode/<set>/score/{SUMMARY}; decode and score first")
    found: dict[str, Path] = {}
    for path in paths:
        name = dataset_name(path, root)
        found[name if name not in found else str(path.relative_to(root))] = path
    return found


def dataset_name(directory: Path, root: Path) -> str:
    """Return the name of a score directory below ``root``, without the last ``score``."""
    relative = directory.relative_to(root)
    return str(relative.parent if relative.name == "score" and len(relative.parts) > 1 else relative)


def table(scores: Mapping[str, Summary], *, characters: bool = False) -> str:
    """Return ``score_table`` of the sets that were scored by words, or by characters; "" if there are none."""
    found = {name: set_score(summary, characters=characters) for name, summary in scores.items()}
    rows = {name: score for name, score in found.items() if score is not None}
    return score_table(rows, characters=characters) if rows else ""


def score_table(scores: Mapping[str, SetScore], *, characters: bool = False) -> str:
    """Return a Markdown table with a row for each score: ESPnet's columns, the interval and the counts of failures."""
    heads = nonzero_counts(scores.values())
    columns = ("Chr" if characters and name == "Wrd" else name for name in COLUMNS)
    rows: list[Sequence[str]] = [("dataset", *columns, *heads, "Normalizer", "Raw WER")]
    for name, score in scores.items():
        raw = rate_text(score.raw_wer) + (" (CER)" if score.unit == "character" else "")
        rows.append((name, *_cells(score), *(count_text(score, head) for head in heads), score.normalizer, raw))
    return markdown_table(rows)


def nonzero_counts(scores: Iterable[SetScore]) -> list[str]:
    """Return the heads of ``COUNTED`` with a count above zero in at least one score."""
    scores = list(scores)
    return [head for head in COUNTED if any(count_text(score, head) not in ("0", "not counted") for score in scores)]


def count_text(score: SetScore, head: str) -> str:
    """Return the cell of a count of ``COUNTED``."""
    count = getattr(score, COUNTED[head])
    text = "not counted" if count is None else str(count)
    references = score.stripped_references if head == "Stripped" else None
    return f"{text} (references: {references})" if references else text


def rate_text(rate: float | None) -> str:
    """Return a rate in percent with one decimal; "" if it is not known."""
    return "" if rate is None else f"{rate:.1f}"


def interval_text(score: SetScore) -> str:
    """Return the interval of a rate as ``8.0-10.2``; "" if it is not known."""
    return "" if score.interval is None else f"{score.interval[0]:.1f}-{score.interval[1]:.1f}"


def describe(summary: Summary) -> str:
    """Return sentences that describe one score."""
    low, high = summary.wer.interval
    truncated = "not counted" if summary.truncated is None else len(summary.truncated)
    raw = summary.raw.percentages[4]
    error_rate, name = summary.wer.counts.percentages[4], summary.rate_name
    successful = "none decoded successfully"
    if summary.successful is not None:
        counts = summary.successful.counts
        successful = f"{counts.sentences} decoded successfully, {name} {counts.percentages[4]:.2f}%"
    return (
        f"{name} {error_rate:.2f}%, 95% interval {low:.2f} to {high:.2f} (bootstrap over utterances), "
        f"normalizer {summary.normalizer}; raw {name} {raw:.2f}%.\n"
        f"Hypotheses: {len(summary.empty)} empty, {len(summary.loops)} in a repetition loop, truncated: {truncated}, "
        f"{len(summary.deletion_bursts)} with a deletion burst of at least {BURST_WORDS} words, "
        f"{len(summary.refusals)} refusals; {successful}.\n{removed_by_normalizer(summary)}"
    )


def removed_by_normalizer(summary: Summary) -> str:
    """Return a line that counts texts with words, digits or letters deleted by the normaliser; '' if there are none.

    Deleted text is scored as missing.
    """
    if not (summary.emptied or summary.stripped or summary.stripped_references):
        return ""
    return (
        f"Deleted by normalizer {summary.normalizer}: all words of {len(summary.emptied)} hypotheses; digits, or "
        f"letters beyond A to Z, of {len(summary.stripped)} hypotheses and {len(summary.stripped_references)} "
        "references. --normalizer english compares numbers and single letters, --normalizer none all text.\n"
    )


def report(exps: Sequence[Path], command: str) -> str:
    """Return the generated Markdown: for each experiment its runs, and tables of WER and of CER if computed.

    A common table of WER and RTFx precedes them.
    """
    speed = _compare_speed(exps) if len(exps) > 1 else ""
    parts = [speed] if speed else []
    for exp in exps:
        scores = collect(exp)
        parts.append(f"## {exp.name}\n\n{describe_runs(exp, command)}")
        if by_words := table(scores):
            parts.append(f"### WER\n\n{by_words}")
        parts += [f"{name}: {line}" for name, one in scores.items() if (line := removed_by_normalizer(one))]
        if by_characters := table(scores, characters=True):
            parts.append(f"### CER\n\n{by_characters}")
        parts += [
            f"### Hallucinated words on non-speech: {path.parent.parent.name}\n\n{path.read_text(encoding='utf-8')}"
            for path in sorted((exp / "decode").glob(f"*/score/{NON_SPEECH_TABLE}"))
        ]
    return "\n".join(parts)


def _compare_speed(exps: Sequence[Path]) -> str:
    """Return the section of WER and RTFx; '' if no decoding has times."""
    systems: dict[str, dict[str, rtfx.Decoded]] = {}
    for exp in exps:
        for name, score in find_scores(exp).items():
            if not is_control(name) and (decoded := rtfx.read_decoded(score)):
                systems.setdefault(exp.name, {})[name] = decoded
    return f"{rtfx.TITLE}\n\n{rtfx.NOTE}\n\n{rtfx.rtfx_table(systems)}" if systems else ""


def update(path: Path, generated: str) -> None:
    """Replace the text between the marker lines of ``path``; create the file if it is missing.

    Sections of experiments that are not in ``generated`` are kept: their scores may be on another machine. The sections
    Environment and Command of earlier versions are kept as long as one of their tables is.

    Raises:
        DataError: if a marker is missing or duplicate, or they are in the wrong order.
    """
    begin, end = f"{BEGIN}\n", f"{END}\n"
    before, after = f"# {path.stem}\n\n", ""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        at = [k for k, line in enumerate(lines) if line.strip() in (BEGIN, END)]
        if [lines[k].strip() for k in at] != [BEGIN, END]:
            where = (
                f"{path}: found {_marker_names(lines[k] for k in at)}, expected one {BEGIN} line and one {END} below it"
            )
            raise DataError(f"{where}; add or correct these two lines around the place of the tables")
        before, after = "".join(lines[: at[0]]), "".join(lines[at[1] + 1 :])
        new = _sections(generated)
        old = _sections("".join(lines[at[0] + 1 : at[1]]))
        kept = {title: text for title, text in old.items() if title not in new}
        if kept.keys() <= SHARED_SECTIONS:
            kept = {}
        generated = "\n".join(part.rstrip("\n") + "\n" for part in (generated, *kept.values()))
    write_whole(path, f"{before}{begin}\n{generated}\n{end}{after}")


def _sections(text: str) -> dict[str, str]:
    """Return the sections of generated Markdown by title."""
    return {part.splitlines()[0]: part for part in re.split(r"^(?=## )", text, flags=re.MULTILINE) if part[:3] == "## "}


def _marker_names(lines: Iterable[str]) -> str:
    return ", then ".join(line.strip() for line in lines) or "no marker line"


def _cells(score: SetScore) -> tuple[str, ...]:
    counts = ("" if number is None else str(number) for number in (score.utterances, score.words))
    rates = (score.correct, score.substitutions, score.deletions, score.insertions, score.wer, score.sentence_errors)
    return *counts, *map(rate_text, rates), interval_text(score)

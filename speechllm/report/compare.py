"""Comparison of two systems on the same sets: significance tests, and the utterances that changed most."""

from pathlib import Path

from speechllm.errors import DataError
from speechllm.report.tables import find_scores
from speechllm.score.directory import SUMMARY, read_summary, read_words
from speechllm.score.markdown import markdown_table
from speechllm.score.matched_pairs import MatchedPairs, matched_pairs
from speechllm.score.wer import ScoredUtterance, count

COLUMNS = ("dataset", "Snt", "Wrd", "A Err", "B Err", "A - B", "95% interval", "segments", "Z", "p", "Normalizer")


def compare(first: Path, second: Path, number: int) -> str:
    """Compare two experiments on their common sets, or two score directories.

    Args:
        first: experiment directory or score directory of the first system.
        second: experiment directory or score directory of the second system.
        number: number of utterances to show per set, those with the largest difference in errors.

    Returns:
        A Markdown table with the matched-pair test of each set, followed by the utterances.

    Raises:
        DataError: if they have no common set, or their normalisers or references differ.
    """
    ours, theirs = _scores(first), _scores(second)
    if SUMMARY in ours and SUMMARY in theirs:  # two score directories may have different names
        common = {ours[SUMMARY].parent.name: (ours[SUMMARY], theirs[SUMMARY])}
    else:
        common = {name: (ours[name], theirs[name]) for name in ours if name in theirs}
    if not common:
        raise DataError(
            f"{first} and {second}: no set was scored in both, found {', '.join(ours)} and {', '.join(theirs)}; "
            "expected a common set, or two score directories"
        )
    rows: list[tuple[str, ...]] = [COLUMNS]
    changes: list[str] = []
    for name, (one, other) in common.items():
        row, changed = _compare_sets(name, one, other, number)
        rows.append(row)
        changes += changed
    return "\n".join([f"A: {first}\nB: {second}\n", markdown_table(rows), *changes])


def _scores(path: Path) -> dict[str, Path]:
    return {SUMMARY: path.resolve()} if (path / SUMMARY).is_file() else find_scores(path)


def _compare_sets(name: str, first: Path, second: Path, number: int) -> tuple[tuple[str, ...], list[str]]:
    summaries = [read_summary(path / SUMMARY) for path in (first, second)]
    normalizers = [summary.normalizer for summary in summaries]
    label = f"{name} (CER)" if summaries[0].unit == "character" else name
    if normalizers[0] != normalizers[1]:
        raise DataError(
            f"{first} and {second}: found the normalizers {normalizers[0]} and {normalizers[1]}, expected the same; "
            "score one of them again"
        )
    one = read_words(first)
    other = _in_order(read_words(second), one)
    try:
        row = _row(label, one, other, matched_pairs(one, other), normalizers[0])
    except DataError as error:
        raise DataError(f"{first} and {second}: {error}") from error
    changed = sorted(zip(one, other, strict=True), key=lambda pair: -abs(pair[0].errors - pair[1].errors))
    shown = [pair for pair in changed[:number] if pair[0].hyp != pair[1].hyp]
    return row, [_show(name, a, b) for a, b in shown]


def _in_order(utterances: list[ScoredUtterance], of: list[ScoredUtterance]) -> list[ScoredUtterance]:
    """Return ``utterances`` in the order of ``of``; matched_pairs reports utterances that are not in both."""
    places = {utterance.utt_id: place for place, utterance in enumerate(of)}
    return sorted(utterances, key=lambda utterance: places.get(utterance.utt_id, len(places)))


def _row(
    name: str, one: list[ScoredUtterance], other: list[ScoredUtterance], found: MatchedPairs, normalizer: str
) -> tuple[str, ...]:
    counts = count(one)
    rates = (f"{count(side).percentages[4]:.2f}" for side in (one, other))
    low, high = found.interval
    p = "< 0.001" if found.p < 0.001 else f"{found.p:.3f}"
    numbers = (f"{found.difference:+.2f}", f"{low:+.2f} to {high:+.2f}", str(found.segments), f"{found.z:+.2f}", p)
    return name, str(counts.sentences), str(counts.words), *rates, *numbers, normalizer


def _show(name: str, one: ScoredUtterance, other: ScoredUtterance) -> str:
    head = f"{name} {one.utt_id}: {one.errors} and {other.errors} errors in {len(one.ref)} words"
    texts = (("REF", one.ref), ("A  ", one.hyp), ("B  ", other.hyp))
    return "\n".join((head, *(f"{label}: {' '.join(words)}" for label, words in texts))) + "\n"

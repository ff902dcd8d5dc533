"""The scores at the top of ``report.html``: a headline of each set, and a table of all of them."""

import html
from collections.abc import Sequence
from pathlib import Path

from speechllm.report.tables import collect, counted, is_control, removed_by_normalizer
from speechllm.score.directory import Summary

COLUMNS = ("Err", "95% interval", "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "S.Err")
COUNTED = ("Empty", "Emptied", "Stripped", "Loops", "Truncated", "Deletion bursts", "Refusals", "Raw WER")


def recipe_of(exp: Path) -> str:
    """Return the name of the recipe of an experiment, ``<recipe>/exp/<experiment>``; "" if it lies elsewhere."""
    folder = exp.resolve().parent
    return folder.parent.name if folder.name.startswith("exp") else ""


def title_of(exp: Path) -> str:
    """Return recipe and name of an experiment."""
    return ": ".join(filter(None, (recipe_of(exp), exp.resolve().name)))


def headline(exps: Sequence[Path]) -> str:
    """Return HTML: for each set the word error rate of the first experiment, and those of the others below it."""
    scores = {exp: collect(exp) for exp in exps}
    first, *beside = exps
    cards = []
    for name, summary in scores[first].items():
        if is_control(name):
            continue
        others = [(exp.resolve().name, scores[exp][name]) for exp in beside if name in scores[exp] and exp != first]
        lines = "".join(f"<span>{html.escape(other)}: {_rate(one)}</span>" for other, one in others)
        low, high = summary.wer.interval
        cards.append(
            f"<div><span>{html.escape(name)}</span>"
            f"<strong>{summary.wer.counts.percentages[4]:.1f}% {summary.rate_name}</strong>"
            f"<span>95% interval {low:.1f} to {high:.1f}</span>{lines}</div>"
        )
    return "".join(cards)


def scores_table(exps: Sequence[Path]) -> str:
    """Return an HTML table of all scores, error rates first, and below it counts of texts that normalisers delete."""
    rows: list[tuple[str, tuple[str, ...]]] = [("th", ("dataset", *COLUMNS, *COUNTED))]
    used: dict[str, list[str]] = {}
    removed = []
    for exp in exps:
        for name, summary in collect(exp).items():
            label = f"{exp.resolve().name}: {name}" if len(exps) > 1 else name
            label += " (CER)" if summary.unit == "character" else ""
            rows.append(("td", (label, *_cells(summary))))
            used.setdefault(summary.normalizer, []).append(label)
            if line := removed_by_normalizer(summary):
                removed.append(f"{label}: {line}")
    lines = ("<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>" for tag, row in rows)
    names = [
        f"Normalizer {name}" + (f": {', '.join(labels)}" if len(used) > 1 else "") for name, labels in used.items()
    ]
    listed = "".join(f"<li>{html.escape(note.strip())}</li>" for note in (*names, *removed))
    return f'<div class="wide"><table>{"".join(lines)}</table></div><ul>{listed}</ul>'


def _cells(summary: Summary) -> list[str]:
    low, high = summary.wer.interval
    counts = summary.wer.counts
    corr, sub, deleted, ins, err, wrong = (f"{share:.1f}" for share in counts.percentages)
    numbers = (str(counts.sentences), str(counts.words), corr, sub, deleted, ins, wrong)
    return [err, f"{low:.1f}-{high:.1f}", *numbers, *counted(summary), f"{summary.raw.percentages[4]:.1f}"]


def _rate(summary: Summary) -> str:
    low, high = summary.wer.interval
    return f"{summary.wer.counts.percentages[4]:.1f}% ({low:.1f} to {high:.1f})"

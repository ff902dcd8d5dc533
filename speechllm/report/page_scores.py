"""Scores at the top of ``report.html``: a headline for each set, and a table of all scores."""

import html
from collections.abc import Sequence
from pathlib import Path

from speechllm.report.record import scores_of
from speechllm.report.set_score import SetScore
from speechllm.report.tables import (
    collect,
    count_text,
    interval_text,
    is_control,
    nonzero_counts,
    rate_text,
    removed_by_normalizer,
)
from speechllm.score.directory import Summary

COLUMNS = (
    *("WER", "95% interval", "Utterances", "Words"),
    *("Correct", "Substituted", "Deleted", "Inserted", "Utterances with errors"),
)


def recipe_of(exp: Path) -> str:
    """Return the name of the recipe of ``<recipe>/exp/<experiment>``; "" for other paths."""
    folder = exp.resolve().parent
    return folder.parent.name if folder.name.startswith("exp") else ""


def title_of(exp: Path) -> str:
    """Return recipe and name of an experiment as a title."""
    return ": ".join(filter(None, (recipe_of(exp), exp.resolve().name)))


def headline(exps: Sequence[Path]) -> str:
    """Return HTML: for each set the word error rate of the first experiment, its control, and those of the others."""
    scores = {exp: collect(exp) for exp in exps}
    first, *beside = exps
    cards = []
    for name, summary in scores[first].items():
        if is_control(name):
            continue
        others = [(exp.resolve().name, scores[exp][name]) for exp in beside if name in scores[exp] and exp != first]
        if control := scores[first].get(f"{name}_shuffled"):
            others.insert(0, ("Control, shuffled audio", control))
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
    scores: list[tuple[str, SetScore]] = []
    used: dict[str, list[str]] = {}
    removed = []
    for exp in exps:
        summaries = collect(exp)
        for name, score in scores_of(exp).items():
            label = f"{exp.resolve().name}: {name}" if len(exps) > 1 else name
            label += " (CER)" if score.unit == "character" else ""
            scores.append((label, score))
            used.setdefault(score.normalizer, []).append(label)
            if line := removed_by_normalizer(summaries[name]):
                removed.append(f"{label}: {line}")
    counts = nonzero_counts([score for _, score in scores])
    rows = [("th", ("Set", *COLUMNS, *counts, "Raw WER"))]
    rows += [("td", (label, *_cells(score, counts))) for label, score in scores]
    lines = ("<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>" for tag, row in rows)
    names = [
        f"Normalizer {name}" + (f": {', '.join(labels)}" if len(used) > 1 else "") for name, labels in used.items()
    ]
    listed = "".join(f"<li>{html.escape(note.strip())}</li>" for note in (*names, *removed))
    return f'<div class="wide"><table>{"".join(lines)}</table></div><ul>{listed}</ul>'


def _cells(score: SetScore, counts: Sequence[str]) -> tuple[str, ...]:
    rates = (score.correct, score.substitutions, score.deletions, score.insertions, score.sentence_errors)
    sizes = (str(score.utterances), str(score.words))
    numbers = (*(count_text(score, head) for head in counts), rate_text(score.raw_wer))
    return rate_text(score.wer), interval_text(score), *sizes, *map(rate_text, rates), *numbers


def _rate(summary: Summary) -> str:
    low, high = summary.wer.interval
    return f"{summary.wer.counts.percentages[4]:.1f}% ({low:.1f} to {high:.1f})"

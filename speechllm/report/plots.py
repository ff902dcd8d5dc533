"""Plots of scores with matplotlib, as inline SVG for pages."""

import io
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from speechllm.score.analysis import PARTS, by_duration, by_position
from speechllm.score.wer import ScoredUtterance

Sets = Mapping[str, Sequence[ScoredUtterance]]
"""Scored utterances of each set."""
SIZE = (5.0, 3.2)  # inches


def errors_by_duration(sets: Sets, durations: Mapping[str, Mapping[str, float]], rate_name: str) -> str:
    """Plot the error rate (WER or CER) against the duration of utterances, for each set with known durations."""

    def draw(axes: Axes) -> None:
        names: list[str] = []
        groups = {name: by_duration(sets[name], durations[name]) for name in sets if name in durations}
        names = sorted({label for group in groups.values() for label in group}, key=_first_number)
        for name, group in groups.items():
            here = [label for label in names if label in group]
            axes.plot(
                [names.index(label) for label in here],
                [group[label].percentages[4] for label in here],
                "o-",
                label=name,
            )
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_ylabel(f"{rate_name} (%)")
        axes.set_title(f"{rate_name} by duration")

    return _svg(draw)


def deletions_by_position(sets: Sets) -> str:
    """Plot the percentage of deleted words in each tenth of the references."""

    def draw(axes: Axes) -> None:
        for name, utterances in sets.items():
            shares = [deleted / words * 100 if words else 0.0 for words, deleted, _ in by_position(utterances)]
            axes.plot(range(1, PARTS + 1), shares, "o-", label=name)
        axes.set_xlabel("tenth of the reference")
        axes.set_ylabel("deleted words (%)")
        axes.set_title("Deletions by position")

    return _svg(draw)


def _svg(draw: Callable[[Axes], None]) -> str:
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "speechllm", "font.size": 9}):
        figure = Figure(SIZE, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        highest = max((float(np.max(line.get_ydata())) for line in axes.get_lines()), default=0.0)
        axes.set_ylim(0, 1.1 * highest or 1)
        axes.grid(alpha=0.3)
        if axes.get_lines():
            figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg[svg.index("<svg") :], count=2)  # the page sets the size


def _first_number(label: str) -> int:
    match = re.search(r"\d+", label)
    assert match is not None
    return int(match.group()) + label.startswith("over")

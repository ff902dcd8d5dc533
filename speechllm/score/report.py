"""``report.html``: the scores of an experiment, plots, and every utterance with its alignment and audio, in one file.

The page holds all that it needs but the audio, which it plays from where it lies, and asks nothing of any network.
"""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from speechllm.errors import DataError
from speechllm.score import plots, results
from speechllm.score.directory import SUMMARY, Summary, read_summary, read_words, write_whole
from speechllm.score.environment import git_hash, versions
from speechllm.score.telephone import durations_of
from speechllm.score.wer import ScoredUtterance

CURVES = ("loss", "accuracy")
"""Of training, as ``exp/images/<name>.png``."""


def write_report(
    exp: Path, beside: Sequence[Path], audio: Mapping[str, Mapping[str, str]], output: Path
) -> dict[str, int]:
    """Write the report of an experiment.

    Args:
        exp: experiment directory with scores.
        beside: other experiments, whose scores stand in the same table.
        audio: for each set, the address of each utterance's audio, seen from the directory of ``output``.
        output: the page.

    Returns:
        The number of utterances of each set.

    Raises:
        DataError: if there are no scores, or the page cannot be written.
    """
    scores = results.find_scores(exp)
    words = {name: read_words(path) for name, path in scores.items()}
    measured = {name: _durations(words[name], path.parent / "nbest.jsonl") for name, path in scores.items()}
    durations = {name: found for name, found in measured.items() if found}
    sets = {
        name: _utterances(words[name], read_summary(path / SUMMARY), durations.get(name, {}), audio.get(name, {}))
        for name, path in scores.items()
    }
    matched = {name: found for name, found in words.items() if not name.endswith("mismatched")}
    drawn = [plots.wer_by_duration(matched, durations)] if durations else []
    drawn += [plots.deletions_by_position(matched), *_curves(exp)]
    page = Template(_page("report.html")).substitute(
        title=html.escape(exp.resolve().name),
        environment=html.escape(", ".join(f"{name} {version}" for name, version in _environment().items())),
        css=_page("report.css"),
        js=_page("report.js"),
        table=_table([exp, *beside]),
        plots="".join(f"<figure>{plot}</figure>" for plot in drawn),
        data=json.dumps(sets, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )
    write_whole(output, page)
    return {name: len(found) for name, found in sets.items()}


def _utterances(
    words: Sequence[ScoredUtterance], summary: Summary, durations: Mapping[str, float], audio: Mapping[str, str]
) -> list[dict[str, Any]]:
    flagged = {
        "empty": summary.empty,
        "loop": summary.loops,
        "truncated": summary.truncated or [],
        "missing a chunk": summary.missing,
        "refused": summary.refused,
    }
    flags: dict[str, list[str]] = {}
    for flag, utt_ids in flagged.items():
        for utt_id in utt_ids:
            flags.setdefault(utt_id, []).append(flag)
    return [
        {
            "id": utterance.utt_id,
            "words": list(utterance.columns()),
            "errors": utterance.errors,
            "length": len(utterance.ref),
            "seconds": durations.get(utterance.utt_id),
            "audio": audio.get(utterance.utt_id),
            "flags": flags.get(utterance.utt_id, []),
        }
        for utterance in words
    ]


def _durations(words: Sequence[ScoredUtterance], path: Path) -> dict[str, float]:
    """Return the durations of segments, or those that decoding has written of utterances, if it has."""
    if segments := durations_of(words):
        return segments
    if not path.exists():
        return {}
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {row["utt_id"]: float(row["duration"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no nbest.jsonl of a decoding ({error}); decode that set again") from error


def _curves(exp: Path) -> list[str]:
    found = []
    for name in CURVES:
        path = exp / "images" / f"{name}.png"
        if path.exists():
            content = base64.b64encode(path.read_bytes()).decode()
            found.append(f'<img alt="{name} of training" src="data:image/png;base64,{content}">')
    return found


def _table(exps: Sequence[Path]) -> str:
    """Return an HTML table of the scores of all experiments, their names before those of the sets if there are more."""
    rows: list[list[str]] = []
    for exp in exps:
        header, _, *body = results.table(results.collect(exp)).splitlines()
        if not rows:
            rows.append(header.strip("|").split("|"))
        for line in body:
            name, *cells = line.strip("|").split("|")
            rows.append([f"{exp.resolve().name}: {name}" if len(exps) > 1 else name, *cells])
    tags = ["th", *["td"] * (len(rows) - 1)]
    lines = (
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in zip(tags, rows, strict=True)
    )
    return f"<table>{''.join(lines)}</table>"


def _environment() -> dict[str, str]:
    return {**versions(), "git": git_hash()[:7]}


def _page(name: str) -> str:
    return (files("speechllm.score") / "page" / name).read_text(encoding="utf-8")

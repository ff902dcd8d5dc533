"""``report.html``: scores of an experiment, plots, and every utterance with alignment and audio, in one file.

Audio is embedded or linked to local files; the page makes no network requests. Hypotheses of other experiments and
other decodings of the same utterances are aligned with the same references, below those of the experiment.
"""

import base64
import heapq
import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from speechllm.errors import DataError
from speechllm.report import plots
from speechllm.report.page_scores import headline, scores_table, title_of
from speechllm.report.runs import environment_of
from speechllm.report.tables import find_scores, is_control
from speechllm.score.directory import SUMMARY, Summary, read_summary, read_words, write_whole
from speechllm.score.nist.telephone import durations_of
from speechllm.score.transcripts import name_some, read_lines
from speechllm.score.wer import ScoredUtterance

CURVES = ("loss", "accuracy")
"""Names of the training curves, ``exp/images/<name>.png``."""


@dataclass(frozen=True, kw_only=True)
class System:
    """Scored hypotheses of an experiment for a set."""

    exp: Path
    name: str
    """Name of the decoding, see ``tables.find_scores``."""
    path: Path
    """Score directory."""
    words: Sequence[ScoredUtterance]

    @cached_property
    def by_id(self) -> dict[str, ScoredUtterance]:
        """Utterances by id."""
        return {utterance.utt_id: utterance for utterance in self.words}

    def is_comparable(self, other: "System") -> bool:
        """Return whether another system decoded the same utterances, and neither is a shuffled-audio control."""
        if other is self or is_control(self.name) or is_control(other.name):
            return False
        return self.by_id.keys() == other.by_id.keys()

    def label_of(self, other: "System") -> str:
        """Return a short name of another system: its experiment, and its decoding if the names differ."""
        parts = [other.exp.resolve().name] if other.exp != self.exp else []
        return ": ".join([*parts, other.name] if other.name != self.name else parts)


def write_report(
    exp: Path, beside: Sequence[Path], audio: Mapping[str, Mapping[str, str]], output: Path
) -> dict[str, int]:
    """Write the report of an experiment.

    Args:
        exp: experiment directory with scores.
        beside: other experiments for comparison of scores and hypotheses.
        audio: URL of the audio of each utterance, by set: relative to the directory of ``output``, or a data URI.
        output: page to write.

    Returns:
        The number of utterances of each set.

    Raises:
        DataError: if there are no scores, or the page cannot be written.
    """
    exps = [exp, *(other for other in beside if other.resolve() != exp.resolve())]
    systems = [
        System(exp=one, name=name, path=path, words=read_words(path))
        for one in exps
        for name, path in find_scores(one).items()
    ]
    own = [system for system in systems if system.exp == exp]
    measured = {system.name: _durations(system.words, system.path.parent / "nbest.jsonl") for system in own}
    durations = {name: found for name, found in measured.items() if found}
    sets = {
        system.name: _utterances(system, systems, durations.get(system.name, {}), audio.get(system.name, {}))
        for system in own
    }
    matched = {system.name: system.words for system in own if not is_control(system.name)}
    rate_names = sorted({read_summary(system.path / SUMMARY).rate_name for system in own if system.name in matched})
    drawn = [plots.errors_by_duration(matched, durations, " or ".join(rate_names))] if durations else []
    drawn += [plots.deletions_by_position(matched), *_curves(exp)]
    page = Template(_page("report.html")).substitute(
        title=html.escape(title_of(exp)),
        headline=headline([exp, *beside]),
        environment=html.escape(", ".join(f"{name} {version}" for name, version in environment_of(exp).items())),
        css=_page("report.css"),
        js=_page("report.js"),
        table=scores_table([exp, *beside]),
        plots="".join(f"<figure>{plot}</figure>" for plot in drawn),
        data=json.dumps(sets, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        name=json.dumps(exp.resolve().name, ensure_ascii=False).replace("<", "\\u003c"),
    )
    write_whole(output, page)
    return {name: len(found) for name, found in sets.items()}


def most_errors(exp: Path, number: int) -> dict[str, list[str]]:
    """Return the ids of the ``number`` utterances with most errors of each set, in descending order."""
    return {
        name: [one.utt_id for one in heapq.nlargest(number, read_words(path), key=lambda one: one.errors)]
        for name, path in find_scores(exp).items()
    }


def _utterances(
    system: System, systems: Sequence[System], durations: Mapping[str, float], audio: Mapping[str, str]
) -> list[dict[str, Any]]:
    flags = _flags(read_summary(system.path / SUMMARY))
    others = [(system.label_of(other), other.by_id) for other in systems if system.is_comparable(other)]
    return [
        {
            "id": utterance.utt_id,
            "words": list(utterance.columns()),
            "errors": utterance.errors,
            "length": len(utterance.ref),
            "seconds": durations.get(utterance.utt_id),
            "audio": audio.get(utterance.utt_id),
            "flags": flags.get(utterance.utt_id, []),
            "others": [
                [label, by_id[utterance.utt_id].errors, list(by_id[utterance.utt_id].columns())]
                for label, by_id in others
            ],
        }
        for utterance in system.words
    ]


def _flags(summary: Summary) -> dict[str, list[str]]:
    """Return the failures of each utterance, from the lists of the summary."""
    flagged = {
        "empty": summary.empty,
        "emptied by the normalizer": summary.emptied,
        "digits or letters deleted by the normalizer": summary.stripped,
        "loop": summary.loops,
        "truncated": summary.truncated or [],
        "deletion burst": summary.deletion_bursts,
        "refusal": summary.refusals,
    }
    flags: dict[str, list[str]] = {}
    for flag, utt_ids in flagged.items():
        for utt_id in utt_ids:
            flags.setdefault(utt_id, []).append(flag)
    return flags


def _durations(words: Sequence[ScoredUtterance], path: Path) -> dict[str, float]:
    """Return the durations of segments, or durations of utterances from ``nbest.jsonl`` if it exists."""
    if segments := durations_of(words):
        return segments
    if not path.exists():
        return {}
    durations = {}
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
            durations[str(row["utt_id"])] = seconds = float(row["duration"])
            if not 0 <= seconds < math.inf:
                raise ValueError(f"duration {seconds}")
        except (ValueError, KeyError, TypeError) as error:
            reason = f"not an nbest.jsonl of a decoding ({error!r}), expected utt_id and duration (seconds)"
            raise DataError(f"{path}: {reason} in line {number}; decode that set again") from error
    if missing := [one.utt_id for one in words if one.utt_id not in durations]:
        raise DataError(f"{path}: {len(missing)} utterances are missing: {name_some(missing)}; decode that set again")
    return durations


def _curves(exp: Path) -> list[str]:
    found = []
    for name in CURVES:
        path = exp / "images" / f"{name}.png"
        if path.exists():
            content = base64.b64encode(path.read_bytes()).decode()
            found.append(f'<img alt="{name} of training" src="data:image/png;base64,{content}">')
    return found


def _page(name: str) -> str:
    return (files("speechllm.report") / "page" / name).read_text(encoding="utf-8")

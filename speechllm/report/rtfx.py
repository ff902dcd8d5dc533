"""Table of WER and RTFx of several models, as on the Open ASR Leaderboard.

RTFx is the inverse real-time factor: seconds of speech per second of decoding, in one job. Decoding includes reading
its input (audio or a dump), and excludes writing the dump and loading the model.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.errors import DataError
from speechllm.report.runs import RECORD, read_run
from speechllm.score.directory import SUMMARY, read_summary
from speechllm.score.markdown import markdown_table
from speechllm.score.transcripts import read_lines

TITLE = "## WER and RTFx"
UNKNOWN = "not recorded"
NOTE = (
    "RTFx: seconds of speech per second of decoding from the stated input, of one job, over all sets. Batch: "
    "utterances in the largest batch. The average is that of the sets' WER."
)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """WER and speed of a set."""

    wer: float
    """Word error rate (percent)."""
    normalizer: str
    speech: float
    """Duration of the speech (seconds)."""
    seconds: float
    """Decoding time (seconds)."""
    device: str
    input: str
    """Input of decoding: audio, or the content of a dump."""
    batch_size: str
    """Number of utterances in the largest batch."""


def read_decoded(score: Path) -> Decoded | None:
    """Return WER and times of a score directory; None if its parent has no ``nbest.jsonl``.

    Raises:
        DataError: if a file is damaged.
    """
    folder = score.parent
    path = folder / "nbest.jsonl"
    if not path.exists():
        return None
    summary = read_summary(score / SUMMARY)
    speech = seconds = 0.0
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
            speech += float(row["duration"])
            seconds += float(row["seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: line {number} is damaged ({error!r}), expected duration and seconds; decode that set again"
            ) from error
    record = read_run(folder / RECORD) if (folder / RECORD).exists() else {}
    return Decoded(
        wer=summary.wer.counts.percentages[4],
        normalizer=summary.normalizer,
        speech=speech,
        seconds=seconds,
        device=record.get("device", UNKNOWN),
        input=record.get("input", UNKNOWN),
        batch_size=record.get("batch_size", UNKNOWN),
    )


def rtfx_table(systems: Mapping[str, Mapping[str, Decoded]]) -> str:
    """Return a Markdown table with a row for each model and a column for the WER of each set.

    Args:
        systems: decoded sets by name, for each model.
    """
    sets = list(dict.fromkeys(name for found in systems.values() for name in found))
    rows: list[Sequence[str]] = [
        ("model", "average WER", "RTFx", *sets, "batch", "device", "input", "normalizer"),
    ]
    for model, found in systems.items():
        whole = found.keys() == set(sets)
        average = f"{sum(one.wer for one in found.values()) / len(found):.2f}" if whole else "-"
        seconds = sum(one.seconds for one in found.values())
        speed = sum(one.speech for one in found.values()) / max(seconds, 1e-9)
        rates = (f"{found[name].wer:.2f}" if name in found else "-" for name in sets)
        stated = (
            _distinct(one.batch_size for one in found.values()),
            _distinct(one.device for one in found.values()),
            _distinct(one.input for one in found.values()),
            _distinct(one.normalizer for one in found.values()),
        )
        rows.append((model, average, f"{speed:.2f}", *rates, *stated))
    return markdown_table(rows)


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))

"""Lhotse manifests in JSON lines (.jsonl or .jsonl.gz): recordings with supervisions, or cuts.

SOURCE is a file of supervisions with the file of their recordings in the same folder (`x_supervisions_y.jsonl.gz` and
`x_recordings_y.jsonl.gz`), a file of cuts, or a folder with exactly one of these. Every supervision, also of a cut, is
an utterance. Mixed or padded cuts, audio that is not in files, and recordings that Lhotse alters on reading (speed,
volume) are left out; write them to files first with Lhotse's `save_audios`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm.data.importers import Options
from speechllm.data.importers._fields import locate, seconds, string
from speechllm.data.importers._lines import first_object, read_json_lines
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

OPTIONS: frozenset[str] = frozenset()
KEEPS_IDS = False

_SUFFIXES = (".jsonl", ".jsonl.gz")
_TOLERANCE: Seconds = 0.01


def claims(source: Path) -> bool:
    """Whether the source has supervisions or cuts."""
    if source.is_dir():
        return bool(_find(source, "supervisions") or _find(source, "cuts"))
    first = first_object(source) if source.name.endswith(_SUFFIXES) else {}
    return "recording_id" in first or _is_cut(first)


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a manifest.

    Raises:
        DataError: if there is no manifest or more than one, or the recordings of the supervisions are missing.
    """
    manifest = _manifest(source)
    if _is_cut(first_object(manifest)):
        yield from _read_cuts(manifest)
        return
    recordings, bad = _recordings(manifest.with_name(manifest.name.replace("supervisions", "recordings")), manifest)
    yield from bad
    for where, fields in read_json_lines(manifest):
        if isinstance(fields, BadRow):
            yield fields
            continue
        recording = recordings.get(str(fields.get("recording_id")))
        if recording is None:
            yield BadRow(where, f"no such recording: {fields.get('recording_id')!r}")
        else:
            yield _row(manifest, where, fields, recording)


def _find(folder: Path, what: str) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{what}*") if file.name.endswith(_SUFFIXES))


def _is_cut(fields: dict[str, Any]) -> bool:
    return "supervisions" in fields or "tracks" in fields


def _manifest(source: Path) -> Path:
    """Return the file of supervisions or, if there is none, of cuts."""
    if not source.is_dir():
        return source
    files = _find(source, "supervisions") or _find(source, "cuts")
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        raise DataError(
            f"{source}: expected one manifest of supervisions or cuts, found {names}; give the path of the file"
        )
    return files[0]


def _recordings(path: Path, supervisions: Path) -> tuple[dict[str, dict[str, Any]], list[BadRow]]:
    """Return the recordings by id, and the invalid lines."""
    if path == supervisions or not path.is_file():
        raise DataError(
            f"{supervisions}: the recordings are missing, expected the file {path.name} in the same folder; name the "
            "files x_supervisions_y and x_recordings_y"
        )
    found, bad = {}, []
    for _, fields in read_json_lines(path):
        if isinstance(fields, BadRow):
            bad.append(fields)
        else:
            found[str(fields.get("id"))] = fields
    return found, bad


def _read_cuts(manifest: Path) -> Iterator[Row | BadRow]:
    for where, cut in read_json_lines(manifest):
        if isinstance(cut, BadRow):
            yield cut
        elif cut.get("type", "MonoCut") != "MonoCut" or not isinstance(cut.get("recording"), dict):
            kind = cut.get("type") if "recording" in cut or "tracks" in cut else "one without a recording"
            yield BadRow(where, f"a cut of another kind: found {kind}, expected a MonoCut")
        elif not cut.get("supervisions"):
            yield BadRow(where, f"a cut without supervisions: {cut.get('id')}")
        else:
            for supervision in cut["supervisions"]:
                yield _row(manifest, where, supervision, cut["recording"], cut)


def _row(
    manifest: Path,
    where: str,
    supervision: dict[str, Any],
    recording: dict[str, Any],
    cut: dict[str, Any] | None = None,
) -> Row | BadRow:
    """Return the utterance of a supervision; in a cut its start is relative to the cut."""
    try:
        offset = seconds(cut, "start") if cut else 0.0
        start, duration = offset + seconds(supervision, "start"), seconds(supervision, "duration")
        if cut and (start < offset or start + duration > offset + seconds(cut, "duration") + _TOLERANCE):
            raise DataError("a supervision that is partly outside its cut")
        return Row(
            where=where,
            path=_audio(manifest, recording),
            text=string(supervision, "text"),
            speaker=string(supervision, "speaker", default=""),
            utt_id=string(supervision, "id"),
            start=start,
            duration=duration,
            recording=string(recording, "id"),
        )
    except DataError as error:
        return BadRow(where, str(error))


def _audio(manifest: Path, recording: dict[str, Any]) -> Path:
    """Return the file of a recording.

    Raises:
        DataError: if it is not a single mono file without changes on reading.
    """
    sources = recording.get("sources")
    if recording.get("transforms"):
        raise DataError("a recording that is altered on reading")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        raise DataError("a recording that is not in one file")
    if sources[0].get("type") != "file":
        raise DataError(f"audio that is not in a file: found a source of type {sources[0].get('type')}, expected file")
    return locate(string(sources[0], "source"), manifest.parent)

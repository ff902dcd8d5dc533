"""A Kaldi data directory: wav.scp, text, and optionally utt2spk and segments. Ids are kept.

Relative paths are searched in the working directory and in the folders above the data directory, because recipes write
them relative to their own folder. Pipes in wav.scp are not run; their utterances are left out. Durations are measured.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from speechllm.data.importers import Options
from speechllm.data.importers._fields import locate
from speechllm.data.kaldi.data_dir import parse_segment, parse_wav
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.data.kaldi.table import scan_table
from speechllm.errors import DataError

OPTIONS: frozenset[str] = frozenset()
KEEPS_IDS = True

Tables = Mapping[str, Mapping[str, str]]


def claims(source: Path) -> bool:
    """Whether the folder has a wav.scp."""
    return (source / "wav.scp").is_file()


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a data directory.

    Raises:
        DataError: if wav.scp or text is missing.
    """
    tables: dict[str, dict[str, str]] = {}
    flawed: dict[str, str] = {}
    for name in ("wav.scp", "text", "utt2spk", "segments"):
        if name in ("wav.scp", "text") or (source / name).is_file():
            tables[name], flaws = _read(source / name)
            flawed |= flaws
    names = [name for name in tables if name != "wav.scp" or "segments" not in tables]
    for utt in sorted({utt for name in names for utt in tables[name]} | flawed.keys()):
        absent = [f"not in {name}" for name in names if utt not in tables[name]]
        if utt in flawed or absent:
            yield BadRow(utt, flawed.get(utt) or absent[0])
            continue
        try:
            yield _row(source, utt, tables)
        except DataError as error:
            yield BadRow(utt, str(error))


def _read(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return a table in any order, and the errors of unusable lines by id."""
    rows, flaws = scan_table(path, allow_empty=path.name == "text")
    wrong = {
        flaw.id or path.name: f"{flaw.kind}: line {flaw.line} of {path}"
        for flaw in flaws
        if not flaw.kind.startswith("not sorted")
    }
    return {utt: value for utt, value in rows if utt not in wrong}, wrong


def _row(source: Path, utt: str, tables: Tables) -> Row:
    """Return an utterance that is in every table.

    Raises:
        DataError: if its speaker, segment or recording is invalid.
    """
    speaker = tables["utt2spk"][utt] if "utt2spk" in tables else utt
    if not utt.startswith(speaker):
        raise DataError(f"an id that does not begin with the speaker's: {speaker}")
    recording, start, duration = utt, 0.0, None
    if "segments" in tables:
        recording, start, end = parse_segment(tables["segments"][utt], "a wrong segment")
        duration = None if end is None else end - start
    if recording not in tables["wav.scp"]:
        raise DataError(f"a segment of a recording that is not in wav.scp: {recording}")
    path = parse_wav(tables["wav.scp"][recording], "a command")
    return Row(
        where=utt,
        path=locate(str(path), Path(), *source.absolute().parents),
        text=tables["text"][utt],
        speaker=speaker,
        utt_id=utt,
        start=start,
        duration=duration,
        recording=recording,
    )

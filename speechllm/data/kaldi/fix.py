"""Repair of data directories: sorting, and dropping of unusable utterances."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

from speechllm.atomic import new_dir, recover_dir
from speechllm.data.audio.durations import measure_durations
from speechllm.data.kaldi.data_dir import TABLES, Utterance, parse_segment, parse_wav, to_tables
from speechllm.data.kaldi.table import MAY_BE_EMPTY, format_table, read_table, scan_table, write_table
from speechllm.data.kaldi.target import BACKUP
from speechllm.data.kaldi.validate import ABSURD, segment_flaw
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

Tables = dict[str, dict[str, str]]


def fix_data_dir(path: str | Path) -> dict[str, str]:
    """Sort the tables, drop unusable utterances, and write spk2utt and utt2dur from the audio.

    An utterance with an empty transcript is dropped, except in a non-speech set, where all are empty. An utterance
    without a context gets an empty one. The original tables are kept in ``.backup/``, those before a second run in
    ``.backup.2/``. ``dropped`` lists every utterance left out, now or earlier, with the reason. A valid directory is
    not changed.

    Returns:
        The utterances dropped now, with their reasons.

    Raises:
        DataError: if wav.scp or utt2spk is missing or no utterance would be left; then nothing is changed.
    """
    path = Path(path)
    recover_dir(path)
    tables, flawed = _read(path)
    recordings, commands = _paths(tables["wav.scp"])
    wordless = "text" in tables and not any(tables["text"].values())
    durations, unusable = measure_durations(recordings, "opening the audio")
    unusable |= commands
    utts, dropped = [], {}
    names = [name for name in tables if name != "context" and (name != "wav.scp" or "segments" not in tables)]
    for utt in sorted({utt for name in names for utt in [*tables[name], *flawed[name]]}):
        absent = [flawed[name].get(utt, f"not in {name}") for name in names if utt not in tables[name]]
        result = _utterance(utt, tables, durations, unusable, wordless) if not absent else "; ".join(absent)
        if isinstance(result, str):
            dropped[utt] = result
        else:
            utts.append(result)
    if not utts:
        first = next((f"the first, {utt}: {reason}" for utt, reason in dropped.items()), "the tables are empty")
        raise DataError(f"{path}: no utterance would be left, so nothing is changed; {first}")
    earlier = read_table(path / "dropped") if (path / "dropped").exists() else {}
    _replace(path, to_tables(utts, path, earlier | dropped))
    return dropped


def _read(path: Path) -> tuple[Tables, Tables]:
    """Return the tables, and the reasons of unusable lines by table and id."""
    tables: Tables = {}
    flawed: Tables = {}
    for name in ("wav.scp", "utt2spk", "text", "segments", "context"):
        if name in ("wav.scp", "utt2spk") or (path / name).exists():
            rows, flaws = scan_table(path / name, allow_empty=name in MAY_BE_EMPTY)
            tables[name] = dict(rows)
            readable = ("not sorted", "a duplicate")
            flawed[name] = {flaw.id: f"{name}: {flaw.kind}" for flaw in flaws if not flaw.kind.startswith(readable)}
            for key, value in rows:
                if tables[name].get(key, value) != value:
                    flawed[name][key] = f"{name}: two lines that differ"
            for key in flawed[name]:
                tables[name].pop(key, None)
            flawed[name].pop("", None)
    return tables, flawed


def _paths(wavs: Mapping[str, str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the paths of wav.scp, and the errors of lines without a path."""
    paths, wrong = {}, {}
    for recording, value in wavs.items():
        try:
            paths[recording] = parse_wav(value, recording)
        except DataError as error:
            wrong[recording] = str(error)
    return paths, wrong


def _utterance(
    utt: str, tables: Tables, durations: Mapping[str, Seconds], unusable: Mapping[str, str], wordless: bool
) -> Utterance | str:
    """Return an utterance that is in every table, or the reason for dropping it."""
    speaker, text = tables["utt2spk"][utt], tables["text"][utt] if "text" in tables else None
    if text == "" and not wordless:
        return "empty transcript"
    if not utt.startswith(speaker):
        return f"the id does not begin with that of the speaker, {speaker}"
    recording, start, end = utt, 0.0, None
    if "segments" in tables:
        try:
            recording, start, end = parse_segment(tables["segments"][utt], "segments")
        except DataError as error:
            return str(error)
    if recording not in durations:
        return unusable.get(recording, f"its recording {recording} is not in wav.scp")
    last = durations[recording] if end is None else end
    if reason := segment_flaw(start, last, durations[recording]):
        return f"segment {reason}"
    if last - start > ABSURD:
        return f"longer than {ABSURD:.0f} s"
    return Utterance(
        utt_id=utt,
        speaker=speaker,
        path=Path(tables["wav.scp"][recording]),
        start=start,
        end=end,
        duration=last - start,
        text=text,
        recording=recording if "segments" in tables else "",
        context=tables.get("context", {}).get(utt, ""),
    )


def _replace(path: Path, tables: Mapping[str, Mapping[str, str]]) -> None:
    """Replace all tables of a directory atomically, and keep the old ones in a new backup."""
    names = (*TABLES, "dropped")
    before = {name: (path / name).read_bytes() for name in names if (path / name).exists()}
    if before == {name: format_table(table).encode() for name, table in tables.items()}:
        return
    with new_dir(path) as temporary:
        ignored = shutil.ignore_patterns(*names)
        shutil.copytree(
            path,
            temporary,
            symlinks=True,
            ignore=lambda folder, files: ignored(folder, files) if Path(folder) == path else set(),
            dirs_exist_ok=True,
        )
        for name, table in tables.items():
            write_table(temporary / name, table)
        backups = (temporary / (BACKUP if number == 1 else f"{BACKUP}.{number}") for number in itertools.count(1))
        backup = next(one for one in backups if not one.exists())
        backup.mkdir()
        for name, content in before.items():
            (backup / name).write_bytes(content)

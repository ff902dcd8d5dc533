"""Transcribe files: which of them, where their transcripts go, and on from where an earlier run stopped."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from speechllm.atomic import new_file
from speechllm.data.audio import SUFFIXES
from speechllm.decode.transcript import FORMATS, Transcript
from speechllm.errors import ConfigError, DataError, SpeechLLMError

Transcribe: TypeAlias = Callable[[Iterable[Path]], Iterator[Transcript | DataError]]
STDIN = "-"
RECORD = ".transcribed_by"


def find_files(names: Sequence[str]) -> dict[Path, Path]:
    """Return the audio files that are named, or lie in folders that are, and for each a relative path for its result.

    Raises:
        ConfigError: if a folder holds no audio file, or two files would have one result.
    """
    found: dict[Path, Path] = {}
    for name in names:
        path = Path(name)
        if not path.is_dir():
            found[path] = Path(path.stem)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise ConfigError(
                f"{path}: found no audio file in this folder, expected one of {', '.join(sorted(SUFFIXES))}"
            )
        found |= {file: file.relative_to(path).with_suffix("") for file in inside}
    owners: dict[Path, Path] = {}
    for file, result in found.items():
        other = owners.setdefault(result, file)
        if other != file:
            raise ConfigError(
                f"{file} and {other}: both would be written to {result}; transcribe one of them elsewhere"
            )
    return found


@contextlib.contextmanager
def stdin_as_file(names: Sequence[str]) -> Iterator[list[str]]:
    """Yield ``names`` with the path of a file of what standard input holds in place of ``-``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        if STDIN in names:
            with path.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield [str(path) if name == STDIN else name for name in names]


def print_transcripts(files: Sequence[Path], transcribe: Transcribe, form: str) -> list[SpeechLLMError]:
    """Print the transcripts of ``files``; return what went wrong.

    Of several files each has a line: path and text with a tab between, or its JSON.

    Raises:
        ConfigError: for subtitles of several files.
    """
    if len(files) > 1 and form not in ("txt", "json"):
        raise ConfigError(f"--format {form}: found {len(files)} files, whose subtitles need a folder; give --out")
    errors: list[SpeechLLMError] = []
    for path, result in zip(files, transcribe(files), strict=True):
        if isinstance(result, DataError):
            errors.append(result)
        elif len(files) == 1:
            print(FORMATS[form](result), end="", flush=True)
        else:
            whole = json.loads(FORMATS["json"](result))
            print(f"{path}\t{result.text}" if form == "txt" else json.dumps(whole, ensure_ascii=False), flush=True)
    return errors


def write_transcripts(
    files: dict[Path, Path], transcribe: Transcribe, out_dir: Path, form: str, identity: str
) -> list[SpeechLLMError]:
    """Write a transcript for each of ``files`` that has none yet; return what went wrong.

    Args:
        files: from ``find_files``.
        transcribe: yields transcripts of files, or errors, in order.
        out_dir: where transcripts go, each in a file of its own.
        form: one of ``FORMATS``.
        identity: what transcripts depend on but for the audio; one folder holds those of one identity.

    Raises:
        ConfigError: if the folder holds transcripts of another identity.
    """
    _check_record(out_dir / RECORD, identity)
    targets = {file: out_dir / result.with_name(f"{result.name}.{form}") for file, result in files.items()}
    missing = [file for file, target in targets.items() if not target.exists()]
    errors: list[SpeechLLMError] = []
    for file, result in zip(missing, transcribe(missing), strict=True):
        if isinstance(result, DataError):
            errors.append(result)
            continue
        targets[file].parent.mkdir(parents=True, exist_ok=True)
        with new_file(targets[file]) as temporary:
            temporary.write_text(FORMATS[form](result), encoding="utf-8")
    return errors


def _check_record(path: Path, identity: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and json.loads(path.read_text())["identity"] != identity:
        raise ConfigError(
            f"{path.parent}: holds transcripts by another model or search; choose another --out, or remove it"
        )
    with new_file(path) as temporary:
        temporary.write_text(json.dumps({"identity": identity}) + os.linesep)

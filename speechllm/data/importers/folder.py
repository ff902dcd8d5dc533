"""A folder of audio files, each with a transcript of the same name: `a/b/hello.wav` and `a/b/hello.txt`.

Speakers are unknown.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.audio.formats import OTHER_SUFFIXES, SUFFIXES, left_out
from speechllm.data.files import entries_below
from speechllm.data.importers import Options
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import DataError

OPTIONS: frozenset[str] = frozenset()
KEEPS_IDS = False


def claims(source: Path) -> bool:
    """Whether the folder has an audio file with a transcript of the same name."""
    suffixes = SUFFIXES | OTHER_SUFFIXES
    entries = entries_below(source) if source.is_dir() else []
    texts = {file.with_suffix("") for file in entries if file.suffix.lower() == ".txt"}
    return any(file.suffix.lower() in suffixes and file.with_suffix("") in texts for file in entries)


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a folder, sorted by path.

    Raises:
        DataError: if it is not a folder.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder, expected a folder of audio files, each with a .txt file")
    found: dict[Path, list[Path]] = {}
    for file in entries_below(source.absolute()):
        found.setdefault(file.with_suffix(""), []).append(file)
    for name, files in found.items():
        yield from _pair(str(name.relative_to(source.absolute())), files)


def _pair(where: str, files: list[Path]) -> Iterator[Row | BadRow]:
    """Yield the utterance of the files with one name; nothing if they are neither audio nor text."""
    unusable = {file: reason for file in files if (reason := left_out(file))}
    audio = [file for file in files if file.suffix.lower() in SUFFIXES and file not in unusable]
    texts = [file for file in files if file.suffix.lower() == ".txt" and file not in unusable]
    others = [file for file in files if file not in audio and file not in texts]
    if unusable and not audio:
        for file, reason in unusable.items():
            yield BadRow(where, f"unreadable audio: {file}: {reason}")
    elif len(audio) > 1 or len(texts) > 1:
        yield BadRow(where, f"two files of one name: {' and '.join(map(str, audio if len(audio) > 1 else texts))}")
    elif audio and not texts:
        yield BadRow(where, f"audio without transcript: {audio[0]}")
    elif texts and others and not audio:
        yield BadRow(where, f"unreadable audio: {others[0]}; convert it, for example to FLAC")
    elif texts and not audio:
        yield BadRow(where, f"transcript without audio: {texts[0]}")
    elif texts:
        try:
            text = texts[0].read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            yield BadRow(where, f"not UTF-8: {texts[0]}")
        else:
            yield Row(where=where, path=audio[0], text=text)

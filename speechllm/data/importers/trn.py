"""Transcripts followed by ids, `TEXT (id)` per line: sclite's .trn and Sphinx's .transcription.

The audio of an id is the file with that name, without suffix, below the folder of the transcripts. If no audio is
found there, the parent folder is searched (Sphinx uses `etc/x.transcription` and `wav/`). In a .trn file the speaker is
the part of the id before the first `-`, and the audio file may be named without it. `<s>`, `</s>` and `<sil>` are
removed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.audio.formats import SUFFIXES
from speechllm.data.files import files_below
from speechllm.data.importers import Options
from speechllm.data.importers._lines import read_bytes
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import DataError
from speechllm.score.transcripts import TRN_LINE

OPTIONS: frozenset[str] = frozenset()
KEEPS_IDS = False

_MARKS = frozenset({"<s>", "</s>", "<sil>"})


def claims(source: Path) -> bool:
    """Whether the source is a .trn or .transcription file."""
    return source.is_file() and source.suffix.lower() in (".trn", ".transcription")


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a transcript file.

    Raises:
        DataError: if the file or its audio is missing.
    """
    content = read_bytes(source).removeprefix(b"\xef\xbb\xbf")
    files = _audio(source)
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip() and not line.startswith(b";;"):  # a comment of sclite
            where = f"{source.name}:{number}"
            try:
                yield _row(source, where, line.decode(), files)
            except UnicodeDecodeError:
                yield BadRow(where, f"not UTF-8: line {number} of {source}")
            except DataError as error:
                yield BadRow(where, str(error))


def _audio(source: Path) -> dict[str, list[Path]]:
    """Return the audio files by name without suffix, and by path without suffix."""
    folder = source.absolute().parent
    for root in (folder, folder.parent):
        found: dict[str, list[Path]] = {}
        for file in files_below(root):
            if file.suffix.lower() in SUFFIXES:
                for name in {file.stem, str(file.relative_to(root).with_suffix(""))}:
                    found.setdefault(name, []).append(file)
        if found:
            return found
    raise DataError(f"{source}: found no audio file in {folder} or {folder.parent}, expected one for each id")


def _row(source: Path, where: str, line: str, files: dict[str, list[Path]]) -> Row:
    """Return the utterance of a line.

    Raises:
        DataError: if the line is malformed, or the id does not have exactly one audio file.
    """
    match = TRN_LINE.fullmatch(line)
    if match is None:
        raise DataError(f"no id: found {line.strip()[-60:]!r}, expected words followed by (id)")
    if re.search(r"\{.*/.*\}", match["text"]):
        raise DataError(f"alternatives in the transcript: found {match['text'][:60]!r}, expected plain words")
    speaker, _, rest = match["utt_id"].partition("-") if source.suffix.lower() == ".trn" else ("", "", "")
    paths = files.get(match["utt_id"]) or files.get(Path(match["utt_id"]).name) or files.get(rest, [])
    if len(paths) != 1:
        raise DataError(f"{'two' if paths else 'no'} audio files of one id: {match['utt_id']}")
    return Row(
        where=where,
        path=paths[0],
        text=" ".join(word for word in match["text"].split() if word not in _MARKS),
        speaker=speaker if rest else "",
        utt_id=match["utt_id"],
    )

"""Output directories of verbs; an existing directory is replaced only if verbs wrote all its files."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from speechllm.atomic import is_temporary, new_dir, recover_dir
from speechllm.data.kaldi.table import iter_table, read_ids
from speechllm.errors import DataError

TABLES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2dur", "context")
BACKUP = ".backup"
"""Prefix of the folders where ``fix`` keeps the original tables."""
FINGERPRINT = "fingerprint"
"""File that marks a directory written by speechllm, with the command and its input."""
LANGUAGE = "language"
"""File with the language of all utterances of a data directory, a code such as ``de``."""
UTT_IDS = "utt_ids"
"""File of an audio folder that lists its utterances."""
SUFFIXES = (".flac", ".wav")
"""Suffixes of written audio files."""

_EARLIER = "made_by"  # name of FINGERPRINT in earlier versions
_FILES = "files: "  # start of its last line, which lists files other than the tables
_LONGEST_NAME = 255  # bytes


def check_target(
    target: str | Path,
    sources: Iterable[str | Path] = (),
    audio: str | Path | None = None,
    *,
    need_marker: bool = True,
) -> None:
    """Check that a data directory and the folder of its audio may be written.

    Args:
        target: data directory; it must be missing or empty, or contain only files written by verbs.
        sources: input directories or files; after resolving links, the target must not equal, contain or be inside one.
        audio: folder for the audio of ``target``, checked in the same way.
        need_marker: whether a directory that contains only tables is rejected if it has no ``fingerprint``.

    Raises:
        DataError: if files that no verb wrote would be lost.
    """
    sources = list(sources)
    for folder in (Path(target), *([] if audio is None else [Path(audio)])):
        for source in sources:
            check_apart(folder, source)
        if not folder.exists():
            continue
        if not folder.is_dir():
            raise DataError(f"{folder}: found a file, expected a directory or a new name; choose another directory")
        names = {file.name for file in folder.iterdir()}
        if not names:
            continue
        foreign = _foreign(folder, need_marker) if folder == Path(target) else _foreign_audio(folder, Path(target))
        if foreign:
            listed = f"{', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}"
            raise DataError(
                f"{folder}: found files that speechllm did not write ({listed}), expected an empty or new directory "
                "or one written by a verb; choose another directory, or move these files"
            )


def check_apart(target: str | Path, source: str | Path, *, inside: bool = True) -> None:
    """Check that a target does not equal or contain a source and, if ``inside``, is not inside it.

    Links are resolved.

    Raises:
        DataError: if they overlap.
    """
    of_target, of_source = _inodes(Path(target)), _inodes(Path(source))
    if of_target[0] == of_source[0]:
        word = "is"
    elif of_target[0] in of_source:
        word = "holds"
    elif inside and of_source[0] in of_target:
        word = "is inside"
    else:
        return
    raise DataError(f"{target}: {word} the source {source}, expected a separate directory; choose another directory")


@contextmanager
def new_target(path: str | Path, what: str, fingerprint: str, files: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty directory that becomes ``path``, marked as written by a verb; print a message if one is replaced.

    Args:
        path: directory that has passed ``check_target``.
        what: kind of directory, for messages.
        fingerprint: marker for ``is_made``; empty: no marker.
        files: names of files to be written other than the tables.
    """
    path = Path(path)
    replaced = _first_line(marker(path))
    extra = " ".join(sorted(files))
    with new_dir(path) as folder:
        yield folder
        if fingerprint:
            content = fingerprint + (f"{_FILES}{extra}\n" if extra else "")
            (folder / FINGERPRINT).write_text(content, encoding="utf-8")
    if replaced is not None:
        print(f"{path}: replaced the {what} of `{replaced[:100]}`", file=sys.stderr)


def is_made(path: str | Path, fingerprint: str) -> bool:
    """Whether a complete directory with this fingerprint exists, after undoing interrupted replacements."""
    recover_dir(Path(path))
    file = marker(path)
    if not file.is_file():
        return False
    found = file.read_text(encoding="utf-8", errors="replace").partition(f"\n{_FILES}")
    return found[0] + "\n" * bool(found[1]) == fingerprint


def marker(path: str | Path) -> Path:
    """Return the path of the file that marks a directory written by a verb; it may be missing."""
    earlier = Path(path) / _EARLIER
    return earlier if earlier.is_file() else Path(path) / FINGERPRINT


def check_file_names(utt_ids: Iterable[str], where: object) -> None:
    """Check that utterance ids are valid names of audio files.

    Raises:
        DataError: if some are not; it names the first.
    """
    wrong = [utt_id for utt_id in utt_ids if not names_a_file(utt_id)]
    if wrong:
        raise DataError(
            f"{where}: found {len(wrong)} ids that are not valid file names, such as {wrong[0][:300]!r}, expected no "
            f"'/' and at most {_LONGEST_NAME - len(SUFFIXES[0])} bytes; rename the utterances, or choose another prefix"
        )


def names_a_file(utt_id: str) -> bool:
    """Whether an utterance id is a valid name of an audio file."""
    if "/" in utt_id or "\0" in utt_id or utt_id in (".", ".."):
        return False
    return len(utt_id) < _LONGEST_NAME // 4 - 5 or len(os.fsencode(utt_id + SUFFIXES[0])) <= _LONGEST_NAME


def _inodes(path: Path) -> list[tuple[int, int] | Path]:
    """Return device and inode of a path and of each of its parents that exists, from the inside out."""
    real = Path(os.path.realpath(path))
    stats = ((one, one.stat() if one.exists() else None) for one in (real, *real.parents))
    return [one if stat is None else (stat.st_dev, stat.st_ino) for one, stat in stats]


def _foreign(folder: Path, need_marker: bool) -> list[str]:
    """Return the names in a data directory that no verb wrote; all names if a required marker is missing."""
    names = sorted(file.name for file in folder.iterdir())
    file = marker(folder)
    if need_marker and not file.is_file():
        return names
    content = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    last = content.rstrip("\n").rpartition("\n")[2]
    known = {
        *TABLES,
        "dropped",
        LANGUAGE,
        file.name,
        *(last.removeprefix(_FILES).split() if last.startswith(_FILES) else ()),
    }
    return [name for name in names if not _is_backup(folder / name) and not (name in known and _is_file(folder / name))]


def _is_file(path: Path) -> bool:
    return path.is_file() or path.is_symlink()


def _is_backup(path: Path) -> bool:
    """Whether this is a backup folder of ``fix`` that contains only tables."""
    return (
        path.name.startswith(BACKUP)
        and path.is_dir()
        and all(file.is_file() and file.name in (*TABLES, "dropped") for file in path.iterdir())
    )


def _foreign_audio(folder: Path, target: Path) -> list[str]:
    """Return the names in an audio folder that no verb wrote.

    Without a list of ids, as in earlier versions, the files are those of the target's wav.scp.
    """
    written = {FINGERPRINT, _EARLIER, UTT_IDS}
    if (folder / UTT_IDS).is_file():
        written |= {f"{utt_id}{suffix}" for utt_id in read_ids(folder / UTT_IDS) for suffix in SUFFIXES}
    elif marker(target).is_file() and (target / "wav.scp").is_file():
        written |= {Path(path).name for _, path in iter_table(target / "wav.scp")}
    return sorted(file.name for file in folder.iterdir() if file.name not in written and not is_temporary(file.name))


def _first_line(path: Path) -> str | None:
    if not path.is_file():
        return None
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]

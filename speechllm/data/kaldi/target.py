"""Directories that a verb writes to: only those that hold nothing but its own files are replaced."""

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
"""Beginning of the names of the folders in which ``fix`` keeps the tables as they were."""
FINGERPRINT = "fingerprint"
"""File that marks a directory written by speechllm: the command and its input."""
LANGUAGE = "language"
"""File with the language of all utterances of a data directory, a code such as ``de``."""
UTT_IDS = "utt_ids"
"""File of an audio folder that lists the utterances with audio in it."""
SUFFIXES = (".flac", ".wav")
"""Of the audio files that are written."""

_EARLIER = "made_by"  # name of that file in earlier versions
_FILES = "files: "  # its last line, if there are files other than the tables
_LONGEST_NAME = 255  # bytes, of a file


def check_target(
    target: str | Path,
    sources: Iterable[str | Path] = (),
    audio: str | Path | None = None,
    *,
    need_marker: bool = True,
) -> None:
    """Check that a data directory, and the folder of its audio, may be written.

    Args:
        target: a data directory that is absent, empty, or was written by a verb and holds no other file.
        sources: directories or files that are read, links resolved; the target is, holds or is inside none of them.
        audio: folder for the audio of ``target``, checked in the same way.
        need_marker: whether a directory of nothing but tables is refused if it has no ``fingerprint``.

    Raises:
        DataError: if something that no verb wrote would be lost.
    """
    sources = list(sources)
    for folder in (Path(target), *([] if audio is None else [Path(audio)])):
        for source in sources:
            check_apart(folder, source)
        if not folder.exists():
            continue
        if not folder.is_dir():
            raise DataError(f"{folder}: found a file, expected a directory or a new name; name another directory")
        names = {file.name for file in folder.iterdir()}
        if not names:
            continue
        foreign = _foreign(folder, need_marker) if folder == Path(target) else _foreign_audio(folder, Path(target))
        if foreign:
            listed = f"{', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}"
            raise DataError(
                f"{folder}: found files that speechllm did not write ({listed}), expected an empty or new directory "
                "or one written by a verb; name another directory, or move these files"
            )


def check_apart(target: str | Path, source: str | Path, *, inside: bool = True) -> None:
    """Check that a target is not a source and holds none, nor is inside one unless ``inside`` is False.

    Links are resolved.

    Raises:
        DataError: if they are not apart.
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
    raise DataError(f"{target}: {word} the source {source}, expected a place apart from it; name another directory")


@contextmanager
def new_target(path: str | Path, what: str, fingerprint: str, files: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty directory that becomes ``path``, marked as written by a verb; say so if one is replaced.

    Args:
        path: the directory; ``check_target`` allows it.
        what: name of the replaced thing, for messages.
        fingerprint: for ``is_made``; empty: no marker.
        files: names of further files, other than the tables, that are written.
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
    """Whether the directory is there, complete, and made by and from just this, once killed runs are undone."""
    recover_dir(Path(path))
    file = marker(path)
    if not file.is_file():
        return False
    found = file.read_text(encoding="utf-8", errors="replace").partition(f"\n{_FILES}")
    return found[0] + "\n" * bool(found[1]) == fingerprint


def marker(path: str | Path) -> Path:
    """Return the file that marks a directory written by a verb; it need not exist."""
    earlier = Path(path) / _EARLIER
    return earlier if earlier.is_file() else Path(path) / FINGERPRINT


def check_file_names(utt_ids: Iterable[str], where: object) -> None:
    """Check that utterance ids can be names of audio files.

    Raises:
        DataError: naming the first that cannot.
    """
    wrong = [utt_id for utt_id in utt_ids if not names_a_file(utt_id)]
    if wrong:
        raise DataError(
            f"{where}: found {len(wrong)} ids that cannot be names of files, such as {wrong[0][:300]!r}, expected no "
            f"'/' and at most {_LONGEST_NAME - len(SUFFIXES[0])} bytes; rename the utterances, or choose another prefix"
        )


def names_a_file(utt_id: str) -> bool:
    """Whether an utterance id can be the name of an audio file in a folder."""
    if "/" in utt_id or "\0" in utt_id or utt_id in (".", ".."):
        return False
    return len(utt_id) < _LONGEST_NAME // 4 - 5 or len(os.fsencode(utt_id + SUFFIXES[0])) <= _LONGEST_NAME


def _inodes(path: Path) -> list[tuple[int, int] | Path]:
    """Return what identifies a path and each folder that it is in, from the inside out: device and inode, if there."""
    real = Path(os.path.realpath(path))
    stats = ((one, one.stat() if one.exists() else None) for one in (real, *real.parents))
    return [one if stat is None else (stat.st_dev, stat.st_ino) for one, stat in stats]


def _foreign(folder: Path, need_marker: bool) -> list[str]:
    """Return the names in a data directory that no verb wrote; all of them if it has no marker but needs one."""
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
    """Whether this is a folder in which ``fix`` keeps tables, and nothing else is in it."""
    return (
        path.name.startswith(BACKUP)
        and path.is_dir()
        and all(file.is_file() and file.name in (*TABLES, "dropped") for file in path.iterdir())
    )


def _foreign_audio(folder: Path, target: Path) -> list[str]:
    """Return the names in an audio folder that no verb wrote.

    Without a list of ids, as earlier versions left it, the files are those of the target's wav.scp.
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

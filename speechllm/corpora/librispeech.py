"""LibriSpeech, 960 hours of read English (openslr.org/12), and Mini LibriSpeech (openslr.org/31).

Layout: ``<root>/[LibriSpeech/]dev-clean/<reader>/<chapter>/<reader>-<chapter>-<number>.flac``, and the transcripts of
each chapter in ``<reader>-<chapter>.trans.txt``. The audio may be in any other format that libsndfile reads.

The speaker is the reader, so that speakers can be held out. (Kaldi uses reader and chapter, to adapt to the recording;
the order of the ids is the same, because ``-`` sorts before every digit and letter.)
"""

import re
import sys
from pathlib import Path

from speechllm.corpora._download import download_openslr, unpack
from speechllm.corpora._prepare import files_below, index_audio, write_set
from speechllm.data.audio.formats import SUFFIXES
from speechllm.data.kaldi.data_dir import is_made
from speechllm.data.kaldi.subset import combine_data_dirs
from speechllm.data.kaldi.table import scan_table
from speechllm.errors import DataError
from speechllm.provenance import files_fingerprint

VARIABLE = "LIBRISPEECH"

_RESOURCE = {  # number of the OpenSLR resource, by set
    "dev_clean": 12,
    "dev_other": 12,
    "test_clean": 12,
    "test_other": 12,
    "train_clean_100": 12,
    "train_clean_360": 12,
    "train_other_500": 12,
    "train_clean_5": 31,
    "dev_clean_2": 31,
}
_COMBINED = {"train_960": ("train_clean_100", "train_clean_360", "train_other_500")}

SETS = (*_RESOURCE, *_COMBINED)


def has_set(root: Path, name: str) -> bool:
    """Return whether a set is published, or exists under ``root`` in the same layout: ``train_mini`` in train-mini."""
    return name in SETS or _folder(root, name).is_dir()


def download(root: Path, sets: list[str], base_url: str | None = None) -> None:
    """Fetch and unpack the missing sets.

    Args:
        root: root of the corpus; created if missing.
        sets: names from ``SETS``.
        base_url: address that replaces OpenSLR's and the shell variable OPENSLR_URL.

    Raises:
        DataError: if a download fails; the next run resumes it.
    """
    for name in _parts(sets):
        folder = _folder(root, name)
        if folder.is_dir():
            print(f"{folder}: exists already", file=sys.stderr)
            continue
        archive = download_openslr(_RESOURCE[name], f"{folder.name}.tar.gz", root, base_url)
        unpack(archive, f"LibriSpeech/{folder.name}", folder)
        archive.unlink()


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory per set; for a combined set, also those of its parts.

    Args:
        root: root of the corpus.
        data: parent of the data directories ``<data>/<set>``.
        sets: names from ``SETS``.

    Raises:
        DataError: if a set is not under ``root`` or none of its utterances is usable.
    """
    for name in _parts(sets):
        _prepare_set(_folder(root, name), data / name, name)
    for name in sets:
        if name in _COMBINED:
            combine_data_dirs([data / part for part in _COMBINED[name]], data / name)


def _prepare_set(folder: Path, target: Path, name: str) -> None:
    files = files_below(folder) if folder.is_dir() else []
    if not files:
        raise DataError(
            f"{folder}: {'an empty folder' if folder.is_dir() else 'no such folder'}, expected the set {name}; set "
            f"{VARIABLE}=/path/to/LibriSpeech, or run `speechllm download librispeech ROOT --sets {name}`"
        )
    fingerprint = f"prepare librispeech {name}\n{folder} {files_fingerprint(files)}\n"
    if is_made(target, fingerprint):
        return
    audio, dropped = index_audio(file for file in files if file.suffix.lower() in SUFFIXES)
    texts: dict[str, str] = {}
    for file in files:
        if file.name.endswith(".trans.txt"):
            rows, flaws = scan_table(file, allow_empty=True)
            dropped |= {flaw.id: f"transcript {flaw.kind}: {file}" for flaw in flaws if flaw.kind == "not UTF-8"}
            for utt, text in rows:
                if utt in texts:
                    dropped[utt] = f"two transcripts: {file}"
                texts[utt] = text
    for utt in audio.keys() | texts.keys():
        if not re.fullmatch(r"\w+-\w+-\w+", utt, re.ASCII):
            dropped[utt] = "an id that is not reader-chapter-number"
    write_set(target, audio, texts, lambda utt: utt.partition("-")[0], dropped, fingerprint)


def _parts(sets: list[str]) -> list[str]:
    """Return the published sets that the given sets consist of, each once."""
    return list(dict.fromkeys(part for name in sets for part in _COMBINED.get(name, (name,))))


def _folder(root: Path, name: str) -> Path:
    """Return the folder of a set; if it is missing, the folder to create."""
    folder = name.replace("_", "-")
    inside = root / "LibriSpeech" / folder
    return inside if inside.is_dir() else root / folder

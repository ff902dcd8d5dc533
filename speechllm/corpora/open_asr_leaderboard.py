"""Test sets of the Open ASR Leaderboard, and other data sets on Hugging Face's hub that are stored as parquet.

Layout: ``<root>/<set>.parquet``, or parquet files of one split in ``<root>/<set>/``. Missing sets are downloaded: those
of the leaderboard by the names in ``SETS``, others by hub id, folder and split: ``ORG--NAME``, ``ORG--NAME--FOLDER`` or
``ORG--NAME--FOLDER--SPLIT``. The default folder is ``data``, the default split ``test``.
Utterances that the leaderboard does not score are dropped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from speechllm.data.importers import Options, huggingface
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.data.kaldi.write_rows import write_rows
from speechllm.errors import DataError
from speechllm.score.normalize import normalizer

VARIABLE = "OPEN_ASR_LEADERBOARD"
REPOSITORY = "hf-audio/esb-datasets-test-only-sorted"
NOT_SCORED = "ignore time segment in scoring"
"""Reference of TED-LIUM segments that are not scored."""


class Source(NamedTuple):
    """Split of a data set on the hub."""

    repo_id: str
    folder: str = "data"
    split: str = "test"


PUBLISHED = {
    **{
        name: Source(REPOSITORY, name)
        for name in ("ami", "earnings22", "gigaspeech", "spgispeech", "tedlium", "voxpopuli")
    },
    "librispeech_clean": Source(REPOSITORY, "librispeech", "test.clean"),
    "librispeech_other": Source(REPOSITORY, "librispeech", "test.other"),
}
SETS = tuple(sorted(PUBLISHED))


def source_of(name: str) -> Source | None:
    """Return the source of a set on the hub; None if the name is not valid."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    owner, *parts = name.split("--")
    return Source(f"{owner}/{parts[0]}", *parts[1:]) if 1 <= len(parts) <= 3 else None


def has_set(root: Path, name: str) -> bool:
    """Return whether a set is on the hub or exists under the root."""
    return source_of(name) is not None or _find(root, name) is not None


def download(root: Path, sets: list[str]) -> None:
    """Download the sets that are not under the root; an interrupted download is resumed.

    Raises:
        DataError: if the hub does not have a set, denies access or cannot be reached.
    """
    for name in sets:
        source = source_of(name)
        if source is not None and _find(root, name) is None:
            _download(source, root / name)


def prepare(root: Path, data: Path, sets: list[str]) -> None:
    """Write one Kaldi directory ``<data>/<set>`` per set, and its audio to ``<data>/<set>_audio``.

    Raises:
        DataError: if a set is not under the root, or none of its utterances is usable.
    """
    for name in sets:
        path = _find(root, name)
        if path is None:
            raise DataError(f"{root / name}: no parquet file or folder, expected the set {name}; run stage 0 first")
        write_rows(data / name, _read(path, data / f"{name}_audio"), f"prepare open_asr_leaderboard {name} {path}")


def _find(root: Path, name: str) -> Path | None:
    paths = (root / f"{name}.parquet", root / name)
    return next((path for path in paths if path.exists() and huggingface.claims(path)), None)


def _read(path: Path, audio: Path) -> Iterator[Row | BadRow]:
    """Yield the utterances; those that the leaderboard does not score are bad rows."""
    normalize = normalizer("whisper-english")
    for row in huggingface.read(path, audio, Options()):
        if isinstance(row, Row) and row.text is not None:
            text = normalize(row.text)
            if text in ("", NOT_SCORED):
                yield BadRow(row.where, f"not scored: the reference {row.text!r}")
                continue
        yield row


def _download(source: Source, target: Path) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    unreachable: Any = HfHubHTTPError.__mro__[1]
    folder, split = source.folder, source.split
    part = target.with_name(f".{target.name}.part")
    try:
        huggingface_hub.snapshot_download(
            source.repo_id,
            repo_type="dataset",
            local_dir=part,
            allow_patterns=[f"{folder}/{split}{end}" for end in (".parquet", "-*.parquet", "/*.parquet")],
        )
    except (OSError, ValueError, unreachable) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{source.repo_id}: cannot be downloaded: {reason}; if gated, accept its terms and run `hf auth login`"
        ) from error
    if not huggingface.claims(part):
        raise DataError(
            f"{source.repo_id}: found no parquet file of the split {split} in the folder {folder}, expected one; "
            "name the set ORG--NAME--FOLDER--SPLIT"
        )
    part.rename(target)

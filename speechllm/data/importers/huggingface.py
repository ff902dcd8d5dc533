"""A Hugging Face data set on disk: the output of `save_to_disk`, or parquet files. Requires the package `datasets`.

Embedded audio is written as FLAC to TARGET_audio, next to the data directory; existing files are not written again.
Samples are unchanged, except that floating-point samples are rounded to 24 bits and those of lossy formats to 16 bits.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speechllm.data.audio.read import audio_duration, read_audio
from speechllm.data.audio.write import write_flac
from speechllm.data.files import files_below
from speechllm.data.importers import Options
from speechllm.data.importers._fields import find_columns, locate, string
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.errors import ConfigError, DataError
from speechllm.provenance import files_fingerprint

OPTIONS = frozenset({"split", "columns"})
KEEPS_IDS = False

_BATCH = 64  # utterances per read, with their audio
_INTEGERS = {
    "PCM_U8": 16,
    "PCM_S8": 16,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 24,
}  # bits of the output, by libsndfile's subtype
_FLOATS = {"FLOAT": 24, "DOUBLE": 24}  # other subtypes are lossy: 16 bits


def claims(source: Path) -> bool:
    """Whether the source is an output of save_to_disk, a parquet file, or a folder of parquet files."""
    if source.is_file():
        return source.suffix == ".parquet"
    saved = any((source / name).is_file() for name in ("dataset_dict.json", "state.json"))
    return saved or (source.is_dir() and next(source.rglob("*.parquet"), None) is not None)


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a split, and write embedded audio to files.

    Raises:
        ConfigError: if the split, a column or the package `datasets` is missing.
        DataError: if the data set cannot be read.
    """
    source = source.absolute()
    audio = audio.absolute() / _audio_folder(source, options)
    columns: dict[str, str] = {}
    for index, fields in enumerate(_examples(source, options.split)):
        columns = columns or find_columns(list(fields), options.columns, str(source))
        where = f"{source.name}:{index}"
        try:
            yield _row(source, audio / f"{index:08d}.flac", where, fields, columns)
        except DataError as error:
            yield BadRow(where, str(error))


def _audio_folder(source: Path, options: Options) -> str:
    """Return a folder name unique to data set, split and column, so that existing files can be reused."""
    files = [file for file in files_below(source) if file.suffix in (".parquet", ".arrow", ".json")]
    chosen = f"{files_fingerprint(files or [source])} {options.split!r} {options.columns.get('audio')!r}"
    return hashlib.sha256(chosen.encode(errors="backslashreplace")).hexdigest()[:16]


def _examples(source: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split as stored; audio is not decoded, but bytes and a path."""
    try:
        import datasets
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            f"{source}: a Hugging Face data set needs the package datasets, which is not installed ({error}); "
            "pip install 'speechllm[datasets]'"
        ) from error
    try:
        if source.is_dir() and not list(source.rglob("*.parquet")):
            found = datasets.load_from_disk(str(source))
            if isinstance(found, datasets.DatasetDict):
                found = found[_choose(source, list(found), split)]
            elif split:
                raise ConfigError(f"{source}: found a single unnamed split, expected {split!r}; leave out --split")
            for table in found.with_format("arrow").iter(batch_size=_BATCH):
                yield from table.to_pylist()
        else:
            files = _parquet_files(source)
            for file in files[_choose(source, list(files), split)]:
                for batch in parquet.ParquetFile(file).iter_batches(batch_size=_BATCH):
                    yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{source}: cannot be read ({error}); check that the data set is complete") from error


def _parquet_files(source: Path) -> dict[str, list[Path]]:
    """Return the files of each split, such as `train-00000-of-00002.parquet` or `train/0000.parquet`."""
    splits: dict[str, list[Path]] = {}
    for file in sorted(source.rglob("*.parquet")) if source.is_dir() else [source]:
        numbered = re.fullmatch(r"(.*?)[-_.]?\d+(-of-\d+)?", file.stem)
        splits.setdefault((numbered[1] or file.parent.name) if numbered else file.stem, []).append(file)
    return splits


def _choose(source: Path, names: list[str], split: str) -> str:
    if split in names:
        return split
    if split or len(names) != 1:
        wanted = f"the split {split!r}" if split else "one"
        raise ConfigError(f"{source}: found the splits {', '.join(names)}, expected {wanted}; give --split NAME")
    return names[0]


def _row(source: Path, target: Path, where: str, fields: dict[str, Any], columns: dict[str, str]) -> Row:
    """Return an utterance, and write its audio to ``target`` if it is embedded.

    Raises:
        DataError: if text or audio is missing, or the audio is damaged or has several channels.
    """
    text = string(fields, columns["text"])
    utt_id, speaker = (string(fields, columns.get(what, ""), default="") for what in ("id", "speaker"))
    audio = fields[columns["audio"]]
    if isinstance(audio, str):
        audio = {"path": audio}
    if not isinstance(audio, dict):
        raise DataError(f"no audio: found {type(audio).__name__}, expected bytes or a path")
    path = audio.get("path") or ""
    held = audio.get("bytes") is not None or audio.get("array") is not None
    if path and (not held or (Path(path).is_absolute() and Path(path).is_file())):
        target = locate(path, source if source.is_dir() else source.parent)
    elif not held:
        raise DataError("no audio: found neither bytes nor a path")
    else:
        utt_id = utt_id or Path(path).stem or target.stem
        if not target.is_file():
            _write(audio, target)
    return Row(where=where, path=target, text=text, speaker=speaker, utt_id=utt_id)


def _write(audio: dict[str, Any], target: Path) -> None:
    """Write audio as FLAC.

    Raises:
        DataError: if the audio is damaged or has several channels.
    """
    if audio.get("bytes") is None:
        bits, rate = 24, audio["sampling_rate"]
        samples_N = _to_integers(np.asarray(audio["array"], np.float64), bits)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=".tmp") as file:
            file.write(audio["bytes"])
            file.flush()
            try:
                audio_duration(file.name)
            except DataError as error:
                raise DataError(f"unusable audio: {str(error).partition(': ')[2]}") from None
            with soundfile.SoundFile(file.name) as sound:
                rate, subtype = sound.samplerate, sound.subtype
                bits = _INTEGERS.get(subtype) or _FLOATS.get(subtype, 16)
                if subtype in _INTEGERS:
                    samples_N = sound.read(dtype="int32")
                elif subtype in _FLOATS:
                    samples_N = _to_integers(sound.read(dtype="float64"), bits)
                else:  # a lossy format, possibly with several concatenated files
                    samples_N = _to_integers(read_audio(file.name, rate).astype(np.float64), bits)
    write_flac(target, samples_N, rate, bits)


def _to_integers(samples_N: np.ndarray, bits: int) -> np.ndarray:
    """Round samples with full scale 1 to the upper ``bits`` of int32; libsndfile would scale them by 1 - 2^-15."""
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(samples_N * full), -full, full - 1).astype(np.int32) << (32 - bits)

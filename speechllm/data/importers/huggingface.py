"""A Hugging Face data set on disk: what `save_to_disk` writes, or parquet files. Needs the package `datasets`.

Audio that the data set holds itself is written as FLAC beside the data directory, in TARGET_audio; what is there
already is not written again. Samples stay as they are, save that floating-point ones and those of lossy formats are
rounded to 24 and 16 bits.
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

_BATCH = 64  # utterances read at once, with their audio
_INTEGERS = {"PCM_U8": 16, "PCM_S8": 16, "PCM_16": 16, "PCM_24": 24, "PCM_32": 24}  # bits kept, by libsndfile's subtype
_FLOATS = {"FLOAT": 24, "DOUBLE": 24}  # all others are lossy: 16 bits


def claims(source: Path) -> bool:
    """Whether it is what save_to_disk writes, a parquet file, or a folder of some."""
    if source.is_file():
        return source.suffix == ".parquet"
    saved = any((source / name).is_file() for name in ("dataset_dict.json", "state.json"))
    return saved or (source.is_dir() and next(source.rglob("*.parquet"), None) is not None)


def read(source: Path, audio: Path, options: Options) -> Iterator[Row | BadRow]:
    """Yield the utterances of a split, writing the audio that has no file.

    Raises:
        ConfigError: if the split or a column is not there, or the package `datasets` is not.
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
    """Return a name that no other data set, split or column has, so that what lies there need not be written again."""
    files = [file for file in files_below(source) if file.suffix in (".parquet", ".arrow", ".json")]
    chosen = f"{files_fingerprint(files or [source])} {options.split!r} {options.columns.get('audio')!r}"
    return hashlib.sha256(chosen.encode(errors="backslashreplace")).hexdigest()[:16]


def _examples(source: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split as they are stored: audio is bytes and a path, not decoded."""
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
                raise ConfigError(f"{source}: found one split without a name, expected {split!r}; leave --split out")
            for table in found.with_format("arrow").iter(batch_size=_BATCH):
                yield from table.to_pylist()
        else:
            files = _parquet_files(source)
            for file in files[_choose(source, list(files), split)]:
                for batch in parquet.ParquetFile(file).iter_batches(batch_size=_BATCH):
                    yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{source}: cannot be read ({error}); is the data set complete?") from error


def _parquet_files(source: Path) -> dict[str, list[Path]]:
    """Return the files of each split: `train-00000-of-00002.parquet`, or `train/0000.parquet`."""
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
        raise ConfigError(f"{source}: found the splits {', '.join(names)}, expected {wanted}; say --split NAME")
    return names[0]


def _row(source: Path, target: Path, where: str, fields: dict[str, Any], columns: dict[str, str]) -> Row:
    """Return an utterance, having written its audio to ``target`` if it has no file of its own.

    Raises:
        DataError: if it has no text or audio, or the audio is damaged or of several channels.
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
        raise DataError("no audio: neither bytes nor a path")
    else:
        utt_id = utt_id or Path(path).stem or target.stem
        if not target.is_file():
            _write(audio, target)
    return Row(where=where, path=target, text=text, speaker=speaker, utt_id=utt_id)


def _write(audio: dict[str, Any], target: Path) -> None:
    """Write audio as FLAC.

    Raises:
        DataError: if it is damaged or of several channels.
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
                else:  # a lossy format, possibly several files in one
                    samples_N = _to_integers(read_audio(file.name, rate).astype(np.float64), bits)
    write_flac(target, samples_N, rate, bits)


def _to_integers(samples_N: np.ndarray, bits: int) -> np.ndarray:
    """Round samples of full scale 1 to so many upper bits of int32; libsndfile would scale them by 1 - 2^-15."""
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(samples_N * full), -full, full - 1).astype(np.int32) << (32 - bits)

"""Hugging Face data sets on disk, made by the library where it is installed."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllm.data.importers import Options, huggingface
from speechllm.errors import ConfigError, DataError

Read = Callable[..., tuple]
SAMPLES_N = np.random.default_rng(0).integers(-(2**15), 2**15, 4000).astype(np.int16)


def audio_bytes(samples_N: np.ndarray = SAMPLES_N, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples_N, 16000, format=format, subtype=subtype)
    return buffer.getvalue()


def dataset(*examples: dict[str, Any]) -> Any:
    """Return a data set with an Audio feature, whose audio is stored as it is."""
    datasets, pyarrow = pytest.importorskip("datasets"), pytest.importorskip("pyarrow")
    types = {"audio": datasets.Audio(), "sentence": datasets.Value("string"), "client_id": datasets.Value("int64")}
    schema = datasets.Features(types).arrow_schema
    return datasets.Dataset(pyarrow.Table.from_pylist(list(examples), schema=schema))


def example(audio: bytes | None, path: str | None = None, text: str | None = "hello") -> dict[str, Any]:
    return {"audio": {"bytes": audio, "path": path}, "sentence": text, "client_id": 3}


def write_parquet(data: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(data.data.table, path)


@pytest.mark.parametrize("kind", ["saved", "split", "parquet"])
def test_audio_inside_is_written_as_flac(tmp_path: Path, read: Read, kind: str) -> None:
    data = dataset(example(audio_bytes(), "clip 7.wav"), example(audio_bytes(SAMPLES_N[::2])))
    source, split = tmp_path / "in", ""
    if kind == "saved":
        data.save_to_disk(str(source))
    elif kind == "split":
        split = "train"
        pytest.importorskip("datasets").DatasetDict({"train": data, "test": data}).save_to_disk(str(source))
    else:
        write_parquet(data, source / "data/train-00000-of-00001.parquet")
    rows, bad = read("huggingface", source, split=split)
    assert bad == {}
    assert [(row.utt_id, row.speaker, row.text) for row in rows] == [
        ("clip 7", "3", "hello"),
        ("00000001", "3", "hello"),
    ]
    for row, expected_N in zip(rows, (SAMPLES_N, SAMPLES_N[::2]), strict=True):
        found_N, rate = soundfile.read(row.path, dtype="int16")
        assert rate == 16000
        assert soundfile.info(row.path).format == "FLAC"
        assert np.array_equal(found_N, expected_N)


def test_what_is_written_is_not_written_again(tmp_path: Path, read: Read) -> None:
    dataset(example(audio_bytes())).save_to_disk(str(tmp_path / "in"))
    (row,), _ = read("huggingface", tmp_path / "in")
    before = row.path.stat().st_mtime_ns
    assert read("huggingface", tmp_path / "in")[0] == [row]
    assert row.path.stat().st_mtime_ns == before


def test_another_split_or_column_or_data_set_has_audio_of_its_own(tmp_path: Path, read: Read) -> None:
    first, second = dataset(example(audio_bytes())), dataset(example(audio_bytes(SAMPLES_N[::2])))
    write_parquet(first, tmp_path / "in/train.parquet")
    write_parquet(second, tmp_path / "in/test.parquet")
    lengths = {
        soundfile.info(read("huggingface", tmp_path / "in", split=s)[0][0].path).frames for s in ("train", "test")
    }
    assert lengths == {4000, 2000}
    write_parquet(second, tmp_path / "in/train.parquet")
    assert soundfile.info(read("huggingface", tmp_path / "in", split="train")[0][0].path).frames == 2000
    both = first.data.table.append_column("far", second.data.table["audio"])
    pytest.importorskip("pyarrow.parquet").write_table(both, tmp_path / "both.parquet")
    rows = [read("huggingface", tmp_path / "both.parquet", audio=column)[0][0] for column in ("audio", "far")]
    assert [soundfile.info(row.path).frames for row in rows] == [4000, 2000]


def test_audio_in_files_stays_there(tmp_path: Path, record: Callable[..., Path], read: Read) -> None:
    path = record(tmp_path / "x.wav")
    write_parquet(dataset(example(None, str(path)), example(audio_bytes(), str(path))), tmp_path / "train.parquet")
    rows, bad = read("huggingface", tmp_path / "train.parquet")
    assert bad == {}
    assert [row.path for row in rows] == [path, path]
    assert not (tmp_path / "audio").exists()


def test_examples_that_cannot_be_used_are_told(tmp_path: Path, read: Read) -> None:
    stereo = audio_bytes(np.zeros((100, 2), np.int16))
    examples = [
        example(b"no audio"),
        example(audio_bytes()[:5000]),
        example(stereo),
        example(None),
        example(audio_bytes(), text=None),
        example(audio_bytes()),
    ]
    write_parquet(dataset(*examples), tmp_path / "in/train.parquet")
    rows, bad = read("huggingface", tmp_path / "in")
    assert [row.utt_id for row in rows] == ["00000005"]
    kinds = [reason.partition(":")[0] for reason in bad.values()]
    assert kinds == ["unusable audio", "unusable audio", "unusable audio", "no audio", "no sentence"]
    assert "found 2 channels" in bad["in:2"]
    assert "truncated" in bad["in:1"]
    assert "tmp" not in bad["in:0"]


def test_a_split_must_be_chosen(tmp_path: Path, read: Read) -> None:
    data = dataset(example(audio_bytes()))
    pytest.importorskip("datasets").DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "in"))
    data.save_to_disk(str(tmp_path / "one"))
    for split in ("", "dev"):
        with pytest.raises(ConfigError, match="found the splits train, test, expected .*; give --split NAME"):
            read("huggingface", tmp_path / "in", split=split)
    with pytest.raises(ConfigError, match="found one split without a name, expected 'dev'"):
        read("huggingface", tmp_path / "one", split="dev")


def test_a_damaged_file_is_an_error(tmp_path: Path, read: Read) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read \(.*\); check that the data set is complete"):
        read("huggingface", tmp_path / "a.parquet")


def imported(folder: Path, audio: dict[str, Any]) -> Path:
    columns = {"audio": "a", "text": "t"}
    return huggingface._row(folder, folder / "a.flac", "in:0", {"a": audio, "t": "hi"}, columns).path


@pytest.mark.parametrize(
    ("format", "subtype", "bits"),
    [
        ("WAV", "PCM_U8", 16),
        ("WAV", "PCM_16", 16),
        ("WAV", "PCM_24", 24),
        ("WAV", "FLOAT", 24),
        ("WAV", "DOUBLE", 24),
        ("FLAC", "PCM_24", 24),
        ("OGG", "VORBIS", 16),
        ("MP3", "MPEG_LAYER_III", 16),
    ],
)
def test_samples_survive(tmp_path: Path, format: str, subtype: str, bits: int) -> None:
    held = audio_bytes(0.4 * SAMPLES_N / 2**15, format, subtype)
    path = imported(tmp_path, {"bytes": held})
    expected_N, _ = soundfile.read(io.BytesIO(held))
    found_N, _ = soundfile.read(path)
    assert soundfile.info(path).subtype == f"PCM_{bits}"
    exact = subtype.startswith("PCM")
    assert np.abs(found_N - expected_N).max() <= (0 if exact else 2.0**-bits)


def test_arrays_of_samples(tmp_path: Path) -> None:
    audio = {"array": (SAMPLES_N / 2**15).tolist(), "sampling_rate": 8000}
    found_N, rate = soundfile.read(imported(tmp_path, audio), dtype="int16")
    assert rate == 8000
    assert np.array_equal(found_N, SAMPLES_N)


def test_splits_by_the_names_of_files(tmp_path: Path) -> None:
    for name in (*(f"data/train-0000{i}-of-00002.parquet" for i in range(2)), "test/0000.parquet", "dev.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = huggingface._parquet_files(tmp_path)
    assert {split: len(paths) for split, paths in files.items()} == {"train": 2, "test": 1, "dev": 1}


def test_without_the_package_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ConfigError, match=r"needs the package datasets, .*pip install 'speechllm\[datasets\]'"):
        list(huggingface.read(tmp_path / "a.parquet", tmp_path, Options()))

"""Sets in parquet files, and the sources of others on the hub."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllm.corpora import open_asr_leaderboard as corpus
from speechllm.corpora.open_asr_leaderboard import REPOSITORY, Source
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError


def write_parquet(path: Path, texts: list[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = []
    for k, text in enumerate(texts):
        audio = io.BytesIO()
        soundfile.write(audio, np.random.default_rng(k).uniform(-0.1, 0.1, 8000), 16000, format="FLAC")
        rows.append({"audio": {"bytes": audio.getvalue(), "path": f"{k}.flac"}, "text": text, "id": f"84-{k}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize("file", ["mine.parquet", "mine/test-00000-of-00001.parquet"])
def test_utterances_that_the_leaderboard_scores(tmp_path: Path, file: str) -> None:
    pytest.importorskip("datasets")
    write_parquet(tmp_path / file, ["Hello there.", "ignore_time_segment_in_scoring", "<unk> (laughs)", "Two words"])
    assert corpus.has_set(tmp_path, "mine")
    corpus.download(tmp_path, ["mine"])
    corpus.prepare(tmp_path, tmp_path / "data", ["mine"])
    assert validate_data_dir(tmp_path / "data/mine", open_audio=True).num_utts == 2
    assert {utt.text for utt in read_data_dir(tmp_path / "data/mine").utts} == {"Hello there.", "Two words"}
    assert (tmp_path / "data/mine/dropped").read_text().count("not scored: the reference") == 2


def test_sets_of_the_hub(tmp_path: Path) -> None:
    assert corpus.source_of("librispeech_other") == Source(REPOSITORY, "librispeech", "test.other")
    assert corpus.source_of("lab--calls") == Source("lab/calls", "data", "test")
    assert corpus.source_of("lab--calls--en--dev") == Source("lab/calls", "en", "dev")
    assert [corpus.source_of(name) for name in ("mine", "a--b--c--d--e")] == [None, None]
    assert not corpus.has_set(tmp_path, "mine")
    with pytest.raises(DataError, match=r"mine: no parquet file or folder, expected the set mine; run stage 0 first"):
        corpus.prepare(tmp_path, tmp_path / "data", ["mine"])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], list[dict[str, Any]]]:
    """Return a function that replaces the hub by one with some files, and returns the calls."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    filter_repo_objects = pytest.importorskip("huggingface_hub.utils").filter_repo_objects

    def replace(files: list[str]) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def snapshot_download(repo_id: str, *, local_dir: Path, allow_patterns: list[str], repo_type: str) -> None:
            calls.append({"repo_id": repo_id, "repo_type": repo_type})
            for file in filter_repo_objects(files, allow_patterns=allow_patterns):
                (local_dir / file).parent.mkdir(parents=True, exist_ok=True)
                (local_dir / file).touch()

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return calls

    return replace


def test_the_files_of_a_split_are_downloaded_once(
    tmp_path: Path, hub: Callable[[list[str]], list[dict[str, Any]]]
) -> None:
    wanted = ["librispeech/test.clean-00000-of-00002.parquet", "librispeech/test.clean-00001-of-00002.parquet"]
    calls = hub([*wanted, "librispeech/test.other-00000-of-00001.parquet", "ami/test-00000-of-00001.parquet"])
    for _ in range(2):
        corpus.download(tmp_path, ["librispeech_clean"])
    folder = tmp_path / "librispeech_clean"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet")) == wanted
    assert calls == [{"repo_id": REPOSITORY, "repo_type": "dataset"}]


def test_a_split_that_the_hub_lacks(tmp_path: Path, hub: Callable[[list[str]], list[dict[str, Any]]]) -> None:
    hub(["data/train-00000-of-00001.parquet", "README.md"])
    with pytest.raises(DataError, match=r"lab/calls: found no parquet file of the split test in the folder data"):
        corpus.download(tmp_path, ["lab--calls"])
    assert not (tmp_path / "lab--calls").exists()

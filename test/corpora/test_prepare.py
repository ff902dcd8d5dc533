"""Checks of corpus root and set names, and the index of files."""

from pathlib import Path

import pytest

from speechllm.corpora import librispeech
from speechllm.corpora._prepare import check_request, files_below, index_audio
from speechllm.errors import ConfigError, DataError
from speechllm.provenance import files_fingerprint


@pytest.mark.parametrize("root", ["", " "])
def test_an_empty_root_names_the_variable(root: str) -> None:
    with pytest.raises(DataError, match=r"root of the corpus is empty; .*LIBRISPEECH=/path"):
        check_request(librispeech, root, ["dev_clean"])


def test_an_unknown_set_gets_a_hint() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown set 'dev-clean', expected one of dev_clean, .*did you mean 'dev_clean'"
    ):
        check_request(librispeech, "root", ["test_clean", "dev-clean"])


def test_the_root_is_made_absolute() -> None:
    assert check_request(librispeech, "root", ["train_960"]) == Path.cwd() / "root"


def test_hidden_files_are_none_of_the_corpus(tmp_path: Path) -> None:
    for name in ("b/1.flac", "a/2.flac", "a/._2.flac", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_below(tmp_path) == [tmp_path / "a" / "2.flac", tmp_path / "b" / "1.flac"]


def test_two_files_of_one_name_are_told(tmp_path: Path) -> None:
    audio, dropped = index_audio([tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "b.flac"])
    assert audio["a"] == tmp_path / "a.wav"
    assert dropped == {"b": f"two audio files: {tmp_path / 'b.wav'} and {tmp_path / 'b.flac'}"}


def test_the_fingerprint_changes_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = files_fingerprint([tmp_path / "a"])
    assert files_fingerprint([tmp_path / "a"]) == before
    (tmp_path / "a").write_text("22")
    assert files_fingerprint([tmp_path / "a"]) != before

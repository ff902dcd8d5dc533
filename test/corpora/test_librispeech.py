"""LibriSpeech, from the archives to the data directories."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from range_server import Server

from speechllm.corpora import librispeech
from speechllm.data.kaldi.data_dir import read_data_dir, read_table
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError

MakeCorpus = Callable[..., Path]
SET = ["train_clean_5"]


def test_a_set_becomes_a_valid_data_directory(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    root = make_corpus()
    librispeech.prepare(root, tmp_path / "data", SET)
    data = tmp_path / "data" / "train_clean_5"
    assert validate_data_dir(data, open_audio=True).num_utts == 8
    utts = read_data_dir(data).utts
    assert utts[0].utt_id == "19-7-0000"  # before 198: the hyphen sorts before digits
    assert utts[0].text == "WORDS OF 19-7-0000"
    assert utts[0].path == root / "train-clean-5" / "19" / "7" / "19-7-0000.flac"
    assert [utt.duration for utt in utts[:4]] == [0.1, 0.2, 0.3, 0.4]
    assert {utt.speaker for utt in utts} == {"19", "198"}
    assert not (data / "dropped").exists()


def test_the_root_may_hold_the_published_folder(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    make_corpus(root="corpus/LibriSpeech")
    librispeech.prepare(tmp_path / "corpus", tmp_path / "data", SET)
    assert len(read_data_dir(tmp_path / "data" / "train_clean_5").utts) == 8


@pytest.mark.parametrize(
    ("suffix", "container"), [("opus", "OGG"), ("ogg", "OGG"), ("wav", "WAV"), ("mp3", "MP3"), ("FLAC", "FLAC")]
)
def test_audio_in_another_format(make_corpus: MakeCorpus, tmp_path: Path, suffix: str, container: str) -> None:
    root = make_corpus()
    for file in root.rglob("*.flac"):
        file.unlink()
        soundfile.write(file.with_suffix(f".{suffix}"), np.zeros(16000), 16000, format=container)
    librispeech.prepare(root, tmp_path / "data", SET)
    assert [utt.duration for utt in read_data_dir(tmp_path / "data" / "train_clean_5").utts] == [1.0] * 8


def test_what_cannot_be_used_is_dropped_listed_and_said(
    make_corpus: MakeCorpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_corpus(readers=("19", "198", "3"))
    first, second = root / "train-clean-5" / "19" / "7", root / "train-clean-5" / "198" / "7"
    (first / "19-7-0000.flac").unlink()
    (first / "19-7-0001.flac").write_bytes(b"")
    cut = (first / "19-7-0002.flac").read_bytes()
    (first / "19-7-0002.flac").write_bytes(cut[: len(cut) // 2])
    soundfile.write(first / "19-7-0003.flac", np.zeros((1600, 2)), 16000)
    shutil.copy(second / "198-7-0000.flac", first)
    shutil.copy(second / "198-7-0001.flac", second / "198-7-0009.flac")
    shutil.copy(second / "198-7-0001.flac", second / "noise.flac")
    transcripts = (second / "198-7.trans.txt").read_text().replace("198-7-0001 WORDS OF 198-7-0001", "198-7-0001")
    (second / "198-7.trans.txt").write_bytes(transcripts.encode() + b"198-7-0002 AGAIN\n198-7-0008 \xff\n")
    librispeech.prepare(root, tmp_path / "data", SET)
    data = tmp_path / "data" / "train_clean_5"
    kinds = {utt: reason.partition(": ")[0] for utt, reason in read_table(data / "dropped").items()}
    assert kinds == {
        "19-7-0000": "transcript without audio",
        "19-7-0001": "unusable audio",
        "19-7-0002": "unusable audio",
        "19-7-0003": "unusable audio",
        "198-7-0000": "two audio files",
        "198-7-0001": "empty transcript",
        "198-7-0002": "two transcripts",
        "198-7-0008": "transcript not UTF-8",
        "198-7-0009": "audio without transcript",
        "noise": "an id that is not reader-chapter-number",
    }
    assert "truncated" in read_table(data / "dropped")["19-7-0002"]
    assert "found 2 channels" in read_table(data / "dropped")["19-7-0003"]
    assert [utt.utt_id for utt in read_data_dir(data).utts] == ["198-7-0003", *(f"3-7-000{i}" for i in range(4))]
    said = capsys.readouterr().err
    assert f"{data}: dropped 10 utterances (" in said
    assert "unusable audio 3" in said
    assert f"listed in {data}/dropped" in said


def test_nothing_is_done_twice_and_a_repaired_file_is_taken(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    root, data = make_corpus(), tmp_path / "data" / "train_clean_5"
    audio = root / "train-clean-5" / "19" / "7" / "19-7-0000.flac"
    good = audio.read_bytes()
    audio.write_bytes(b"")
    librispeech.prepare(root, tmp_path / "data", SET)
    before = (data / "text").stat().st_ino
    librispeech.prepare(root, tmp_path / "data", SET)
    assert (data / "text").stat().st_ino == before
    audio.write_bytes(good)
    librispeech.prepare(root, tmp_path / "data", SET)
    assert len(read_data_dir(data).utts) == 8
    assert not (data / "dropped").exists()


def test_train_960_is_its_three_parts(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    for i, folder in enumerate(("train-clean-100", "train-clean-360", "train-other-500")):
        root = make_corpus(folder, readers=(str(i + 1),))
    librispeech.prepare(root, tmp_path / "data", ["train_960"])
    assert validate_data_dir(tmp_path / "data" / "train_960").num_speakers == 3
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "train_960",
        "train_clean_100",
        "train_clean_360",
        "train_other_500",
    ]


def test_a_missing_or_empty_root_says_which_variable_to_set(tmp_path: Path) -> None:
    for state in ("no such folder", "an empty folder"):
        with pytest.raises(DataError, match=rf"train-clean-5: {state}, .*LIBRISPEECH=/path/to/LibriSpeech"):
            librispeech.prepare(tmp_path / "corpus", tmp_path / "data", SET)
        (tmp_path / "corpus" / "train-clean-5").mkdir(parents=True, exist_ok=True)
    assert not (tmp_path / "data").exists()


def test_a_set_of_which_nothing_can_be_used_is_an_error(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    root = make_corpus()
    for file in root.rglob("*.flac"):
        file.write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"found no usable utterance \(unusable audio 8\), expected at least one; the first, 19-7-0000: ",
    ):
        librispeech.prepare(root, tmp_path / "data", SET)
    assert not (tmp_path / "data").exists()


@pytest.fixture
def openslr(server: Server, make_corpus: MakeCorpus) -> Server:
    """Return a server that has the archives of two sets."""
    root = make_corpus(root="source/LibriSpeech")
    make_corpus("dev-clean", root="source/LibriSpeech", readers=("84",))
    (root / "SPEAKERS.TXT").write_text("19 | F\n")
    for resource, name in ((31, "train-clean-5"), (12, "dev-clean")):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            tar.add(root / name, f"LibriSpeech/{name}")
            tar.add(root / "SPEAKERS.TXT", "LibriSpeech/SPEAKERS.TXT")
        server.files[f"/{resource}/{name}.tar.gz"] = buffer.getvalue()
        md5 = hashlib.md5(buffer.getvalue()).hexdigest()
        server.files[f"/{resource}/md5sum.txt"] = f"{md5}  {name}.tar.gz\n".encode()
    shutil.rmtree(root)
    return server


def test_sets_are_downloaded_unpacked_and_then_left_alone(openslr: Server, tmp_path: Path) -> None:
    root, sets = tmp_path / "corpus", ["train_clean_5", "dev_clean"]
    openslr.cuts = [1 << 20, 500]
    librispeech.download(root, sets, openslr.url)
    assert sorted(path.name for path in root.iterdir()) == ["SPEAKERS.TXT", "dev-clean", "train-clean-5"]
    librispeech.prepare(root, tmp_path / "data", sets)
    assert len(read_data_dir(tmp_path / "data" / "train_clean_5").utts) == 8
    asked = len(openslr.requests)
    librispeech.download(root, sets, openslr.url)
    assert len(openslr.requests) == asked


def test_a_wrong_checksum_leaves_no_set(openslr: Server, tmp_path: Path) -> None:
    openslr.files["/31/md5sum.txt"] = f"{'0' * 32}  train-clean-5.tar.gz\n".encode()
    with pytest.raises(DataError, match="found the MD5 checksum"):
        librispeech.download(tmp_path / "corpus", SET, openslr.url)
    assert list((tmp_path / "corpus").iterdir()) == []


def test_train_960_is_downloaded_as_its_three_parts(server: Server, tmp_path: Path) -> None:
    server.files["/12/md5sum.txt"] = b""
    with pytest.raises(DataError, match=r"expected train-clean-100\.tar\.gz"):
        librispeech.download(tmp_path, ["train_960"], server.url)

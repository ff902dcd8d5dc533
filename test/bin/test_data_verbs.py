"""The verbs that write and repair data directories, called as from the shell."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.bin import main


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Return a corpus of 3 readers with 4 utterances each."""
    for reader in ("1", "2", "3"):
        chapter = tmp_path / "corpus" / "train-clean-5" / reader / "7"
        chapter.mkdir(parents=True)
        ids = [f"{reader}-7-{i:04d}" for i in range(4)]
        (chapter / f"{reader}-7.trans.txt").write_text("".join(f"{utt} HELLO\n" for utt in ids))
        for i, utt in enumerate(ids):
            soundfile.write(chapter / f"{utt}.flac", np.zeros(1600 * (i + 1)), 16000)
    return tmp_path / "corpus"


@pytest.fixture
def data(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the data directory of the corpus."""
    assert main(["prepare", "librispeech", str(corpus), str(tmp_path / "data"), "--sets", "train_clean_5"]) == 0
    assert "train_clean_5: 12 utterances, 3 speakers, 0.00 hours" in capsys.readouterr().out
    return tmp_path / "data" / "train_clean_5"


def test_prepare_says_by_its_status_that_something_was_left_out(corpus: Path, tmp_path: Path) -> None:
    next(corpus.rglob("*.flac")).unlink()
    for _ in range(2):  # also when there is nothing left to be done
        assert main(["prepare", "librispeech", str(corpus), str(tmp_path / "data"), "--sets", "train_clean_5"]) == 3


def test_download_of_what_is_there(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "librispeech", str(corpus), "--sets", "train_clean_5"]) == 0
    assert "train-clean-5: exists already" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["download", "prepare"])
def test_an_empty_root_unknown_corpus_or_set(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = [str(tmp_path)] if verb == "prepare" else []
    for corpus, root, name, message in (
        ("librispeech", "", "dev_clean", "LIBRISPEECH=/path"),
        ("librispeach", "root", "dev_clean", "did you mean 'librispeech'?"),
        ("librispeech", "root", "dev_cleen", "did you mean 'dev_clean'?"),
    ):
        assert main([verb, corpus, root, *data, "--sets", name]) == 1
        assert message in capsys.readouterr().err


def test_validate_goes_on_behind_what_is_wrong(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--open_audio", str(data)]) == 0
    assert main(["validate", str(data.parent / "gone"), str(data)]) == 1
    captured = capsys.readouterr()
    assert "gone: no such data directory" in captured.err
    assert captured.out.count("12 utterances") == 2


def test_fix(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "text").write_text((data / "text").read_text().replace("1-7-0000 HELLO", "1-7-0000"))
    assert main(["validate", str(data)]) == 1
    assert "empty transcripts (1): 1-7-0000" in capsys.readouterr().err
    assert main(["fix", str(data)]) == 0
    assert "dropped 1 utterances, kept 11 utterances" in capsys.readouterr().out
    assert (data / "dropped").read_text() == "1-7-0000 empty transcript\n"
    assert main(["validate", str(data)]) == 0


def test_subset(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list").write_text("1-7-0000\n3-7-0001\n")
    for options, number in (
        (["--first", "5"], 5),
        (["--random", "5", "--seed", "3"], 5),
        (["--utt_list", str(tmp_path / "list")], 2),
        (["--speakers", "1", "3", "--max_duration", "0.3"], 6),
    ):
        assert main(["subset", str(data), str(tmp_path / "part"), *options]) == 0
        assert f"part: {number} utterances" in capsys.readouterr().out
    assert main(["subset", str(data), str(tmp_path / "more"), "--first", "13"]) == 1
    assert not (tmp_path / "more").exists()


def test_hold_out_and_combine(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, valid = str(tmp_path / "train"), str(tmp_path / "valid")
    assert main(["hold_out", str(data), "--speakers", "1", "--train", train, "--valid", valid]) == 0
    out = capsys.readouterr().out
    assert "train: 8 utterances, 2 speakers" in out
    assert "valid: 4 utterances, 1 speakers" in out
    assert main(["combine", str(tmp_path / "all"), train, valid]) == 0
    assert (tmp_path / "all" / "text").read_text() == (data / "text").read_text()
    assert main(["combine", str(tmp_path / "twice"), train, str(data)]) == 1
    texts = "".join(f"{line.split()[0]} {i}\n" for i, line in enumerate((data / "text").read_text().splitlines()))
    (data / "text").write_text(texts)
    assert main(["hold_out", str(data), "--utterances", "5", "--train", train, "--valid", valid]) == 0
    out = capsys.readouterr().out
    assert "train: 7 utterances" in out
    assert "valid: 5 utterances" in out

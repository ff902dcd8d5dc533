"""Names of derived sets, and the verb that makes them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.data.derive.sets import corpus_sets, locate
from speechllm.data.kaldi.data_dir import read_data_dir, read_language, write_language
from speechllm.errors import DataError

DATA = Path("data")
YAML = """
frontend: {type: log_mel}
encoder: {type: whisper, path: none}
connector: {type: fc}
decoder: {type: causal_lm, path: none}
data: {augment: {snr: [5, 20], codecs: [gsm]}}
"""


@pytest.fixture
def data(make_set: Callable[..., Path]) -> Path:
    """Return a folder with a data directory ``small`` of four utterances."""
    made = make_set(0.3, 0.4, 0.5, 0.6)
    made.rename(made.parent / "small")
    return made.parent


def derive(data: Path, *names: str) -> int:
    return main(["derive", "--data", str(data), *names])


def ids(data: Path, name: str) -> set[str]:
    return {utt.utt_id for utt in read_data_dir(data / name, need_text=False).utts}


def test_derived_sets_are_made_with_those_between(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["small_train1_sp0.9", "small_valid1", "small_cat60", "small_shuffled", "non_speech"]
    write_language(data / "small", "de")
    assert derive(data, *names) == 0
    assert ids(data, "small_train1") | ids(data, "small_valid1") == ids(data, "small")
    assert ids(data, "small_valid1") and not ids(data, "small_train1") & ids(data, "small_valid1")
    assert ids(data, "small_train1_sp0.9") == {f"sp0.9-{utt_id}" for utt_id in ids(data, "small_train1")}
    assert not (data / "small_shuffled").exists()
    derived = ("small_train1_sp0.9", "small_valid1", "small_cat60", "non_speech")
    assert [read_language(data / name) for name in derived] == ["de", "de", "de", None]
    out = capsys.readouterr().out
    for name in ("small_train1_sp0.9", "small_valid1", "small_cat60", "small", "non_speech"):
        assert f"{data / name}: " in out
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}
    assert derive(data, *names) == 0
    assert before == {path: path.stat().st_mtime_ns for path in data.rglob("*") if path.is_file()}


def test_augmentation_is_declared_in_the_experiment(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert derive(data, "small_aug") == 2
    assert "no data.augment in the experiment YAML" in capsys.readouterr().err
    (tmp_path / "x.yaml").write_text(YAML)
    assert derive(data, "small_aug", "--config", str(tmp_path / "x.yaml")) == 0
    assert ids(data, "small_aug") == {f"aug-{utt_id}" for utt_id in ids(data, "small")}
    fingerprint = (data / "small_aug/fingerprint").read_text()
    assert derive(data, "small_aug", "--config", str(tmp_path / "x.yaml"), "--set", "data.augment.snr=[0, 1]") == 0
    assert (data / "small_aug/fingerprint").read_text() != fingerprint


def test_a_set_of_that_name_that_was_not_derived_is_left_alone(data: Path) -> None:
    (data / "small").rename(data / "own_aug")
    before = {path: path.read_bytes() for path in (data / "own_aug").iterdir()}
    assert derive(data, "own_aug", "own_aug_sp1.1") == 0
    assert before == {path: path.read_bytes() for path in (data / "own_aug").iterdir()}
    assert (data / "own_aug_sp1.1/text").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none_sp0.9", "none: no such data directory"),
        ("small_sp9", "found the speed 9"),
        ("small_train99", "99 to hold out"),
        ("smal", "smal: no such data directory"),
    ],
)
def test_sets_that_cannot_be_made(data: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert derive(data, name) == 1
    assert message in capsys.readouterr().err
    assert not (data / name).exists()


def test_the_sets_of_the_corpus_behind_derived_ones() -> None:
    names = ["train_clean_5_train2", "train_clean_5_train2_sp0.9", "train_clean_5_valid2", "dev_clean_cat60_shuffled"]
    names += ["non_speech", "own_aug", "own_aug_sp1.1", "../x/data/y", "data/z_sp0.9"]
    assert corpus_sets(names, lambda name: name == "own_aug") == ["train_clean_5", "dev_clean", "own_aug"]


def test_sets_elsewhere_are_named_after_their_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "egs/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "egs/mine")
    for given, name, path in (
        ("test", "test", "data/test"),
        ("data/test", "test", "data/test"),
        ("../other/data/test/", "other_test", "../other/data/test"),
        ("../other/mini/data/test", "other_mini_test", "../other/mini/data/test"),
        (f"{tmp_path}/egs/other/data/test", "other_test", f"{tmp_path}/egs/other/data/test"),
        ("/corpora/voices/data/test", "voices_test", "/corpora/voices/data/test"),
        ("/voices/test", "voices_test", "/voices/test"),
    ):
        (one,) = locate([given], DATA)
        assert (one.name, one.data_dir, one.shuffled) == (name, Path(path), False)
    (control,) = locate(["../other/data/test_shuffled"], DATA)
    assert control.decode_dir(Path("exp/x"), "beam4") == Path("exp/x/decode/other_test_beam4_shuffled")
    assert len(locate(["test", "test_shuffled"], DATA)) == 2
    assert len(locate(["test", "test_shuffled"], DATA, shuffled=False)) == 1
    with pytest.raises(DataError, match="the set name voices_test"):
        locate(["/voices/test", "/corpora/voices/data/test"], DATA)

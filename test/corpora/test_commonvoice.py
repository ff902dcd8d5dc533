"""Common Voice in its released layout, with its errors."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.build import open_set
from speechllm.corpora import commonvoice
from speechllm.data.kaldi.data_dir import read_data_dir, read_language
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError
from speechllm.experiment import load_config

REAL = Path(__file__).parents[3] / "shared/data/common_voice"
RECIPE = Path(__file__).parents[2] / "egs/commonvoice/run.sh"
HEADER = "client_id\tpath\tsentence\tup_votes"


def client(name: str) -> str:
    return (name * 128)[:128]


@pytest.fixture
def language(tmp_path: Path) -> Path:
    """Return the folder of a language with ten clips by speakers a to e, two each."""
    folder = tmp_path / "cv/en"
    (folder / "clips").mkdir(parents=True)
    for k in range(10):
        noise = np.random.default_rng(k).uniform(-0.1, 0.1, 16000 + 1600 * k)
        soundfile.write(folder / f"clips/c{k}.mp3", noise, 16000, format="MP3")
    for name, clips in (("train", range(4)), ("dev", (4, 5)), ("test", (6,)), ("validated", range(10))):
        rows = [f"{client('abcde'[k // 2])}\tc{k}.mp3\tSentence number {k}.\t2" for k in clips]
        (folder / f"{name}.tsv").write_text("\n".join([HEADER, *rows, ""]))
    return folder


def dropped(data_dir: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in (data_dir / "dropped").read_text().splitlines())


def test_a_set_becomes_a_valid_data_directory(language: Path, tmp_path: Path) -> None:
    commonvoice.prepare(language, tmp_path / "data", ["train", "dev"])
    assert validate_data_dir(tmp_path / "data/train", open_audio=True).num_utts == 4
    first = read_data_dir(tmp_path / "data/train").utts[0]
    assert (first.utt_id, first.speaker, first.text) == (f"{'a' * 16}-c0", "a" * 16, "Sentence number 0.")
    assert first.duration == pytest.approx(1.0, abs=0.1)
    assert read_language(tmp_path / "data/train") == "en"


def test_the_folder_of_the_language_is_found_where_there_is_one(language: Path, tmp_path: Path) -> None:
    commonvoice.prepare(tmp_path, tmp_path / "data", ["test"])
    shutil.copytree(language, language.with_name("de"))
    with pytest.raises(DataError, match=r"with a folder clips: found 2: .*/de, .*/en, expected one; get a release"):
        commonvoice.download(tmp_path, ["test"])
    with pytest.raises(DataError, match="found none, expected one; get a release"):
        commonvoice.download(tmp_path / "nowhere", ["test"])
    (language / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"dev\.tsv: no such file"):
        commonvoice.download(language, ["validated_train"])


def test_validated_train_has_no_clip_and_no_speaker_of_dev_and_test(language: Path, tmp_path: Path) -> None:
    commonvoice.prepare(language, tmp_path / "data", ["validated_train"])
    utts = read_data_dir(tmp_path / "data/validated_train").utts
    # d6 is in test, and d7 is of its speaker
    assert [utt.utt_id[-2:] for utt in utts] == ["c0", "c1", "c2", "c3", "c8", "c9"]


def test_columns_are_found_by_name_and_old_paths_have_no_suffix(language: Path, tmp_path: Path) -> None:
    rows = ["locale\tsentence\tclient_id\tpath", f"en\tYes\t{client('a')}\tc0", f"en\tNo\t{client('a')}\tc1.mp3"]
    (language / "train.tsv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*rows, ""]).encode())
    commonvoice.prepare(language, tmp_path / "data", ["train"])
    assert [utt.text for utt in read_data_dir(tmp_path / "data/train").utts] == ["Yes", "No"]
    (language / "train.tsv").write_text("client_id\tpath\n")
    with pytest.raises(DataError, match=r"train\.tsv:1: no column sentence, found client_id, path"):
        commonvoice.prepare(language, tmp_path / "data2", ["train"])


def test_what_cannot_be_used_is_listed_and_the_rest_goes_through(language: Path, tmp_path: Path) -> None:
    clips = language / "clips"
    (clips / "c1.mp3").unlink()
    (clips / "c2.mp3").write_bytes(b"")
    (clips / "c3.mp3").write_bytes((clips / "c3.mp3").read_bytes()[:2000])
    rows = [f'{client("a")}\tc0.mp3\t"A quotation begins\t2']
    rows += [f"{client('b')}\tc{k}.mp3\tSentence\t2" for k in (1, 2, 3)]
    rows += [f"{client('c')}\tc4.mp3\t \t2", f"{client('c')}\tc5.mp3", f"{client('d')}\tc6.mp3\tTwice\t2"]
    rows += [
        f"{client('d')}\tc6.mp3\tTwice\t2",
        f"{client('d')}\tc7.mp3\tM\udce9l\t2",
        f'{client("e")}\tc8.mp3\tends"\t2',
    ]
    (language / "train.tsv").write_text("\n".join([HEADER, *rows, ""]), errors="surrogateescape")
    commonvoice.prepare(language, tmp_path / "data", ["train"])
    found = {utt.utt_id[-2:]: utt.text for utt in read_data_dir(tmp_path / "data/train").utts}
    assert found == {"c0": '"A quotation begins', "c6": "Twice", "c8": 'ends"'}
    reasons = dropped(tmp_path / "data/train")
    kinds = [reason.partition(":")[0] for reason in reasons.values()]
    assert sorted(kinds) == [
        "empty transcript",
        "listed twice",
        "missing audio",
        "not UTF-8",
        "too few fields",
        "unusable audio",
        "unusable audio",
    ]
    assert reasons["train.tsv:7"] == "too few fields: 2 of 4"


def test_speakers_that_begin_alike_are_refused(language: Path, tmp_path: Path) -> None:
    rows = [f"{client('a')}\tc0.mp3\tYes\t2", f"{'a' * 20}{'b' * 108}\tc1.mp3\tNo\t2"]
    (language / "train.tsv").write_text("\n".join([HEADER, *rows, ""]))
    with pytest.raises(DataError, match=r"train\.tsv:3: client_id a+b+ begins as a+, expected another start"):
        commonvoice.prepare(language, tmp_path / "data", ["train"])


@pytest.mark.skipif(not REAL.is_dir(), reason="needs real clips beside the checkout")
def test_real_clips(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    shutil.copytree(REAL / "clips", tmp_path / "en/clips")
    shutil.copy(REAL / "manifest.tsv", tmp_path / "en/test.tsv")
    commonvoice.prepare(tmp_path / "en", tmp_path / "data", ["test"])
    assert validate_data_dir(tmp_path / "data/test", open_audio=True).num_utts == 18


GERMAN = ["Das Wetter ist schön.", "Wir gehen in den Park.", "Übermorgen fährt er heim.", "Die Straße ist gesperrt!"]
TOY = """
frontend: {{type: log_mel}}
encoder: {{type: whisper, path: {whisper}, padding: none}}
connector: {{type: fc, hidden: 32, stack: 8}}
decoder: {{type: causal_lm, path: {llm}}}
prompt: {{template: "hear {{language}} <speech> say"}}
data: {{batch_size: 2, num_buckets: 1}}
train: {{dtype: float32, max_steps: 2, lr: 1e-3, warmup_steps: 1, log_every: 1, valid_every: 2, keep_best: 1}}
"""


@pytest.mark.slow
def test_another_language_goes_through_all_stages(
    language: Path, tmp_path: Path, tiny_whisper: Path, tiny_llm: Path
) -> None:
    german = language.rename(language.with_name("de"))
    for table in german.glob("*.tsv"):
        header, *rows = table.read_text().splitlines()
        for k, row in enumerate(rows):
            fields = row.split("\t")
            rows[k] = "\t".join([*fields[:2], GERMAN[int(fields[1][1:-4]) % 4], fields[3]])
        table.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    (tmp_path / "toy.yaml").write_text(TOY.format(whisper=tiny_whisper, llm=tiny_llm))
    command = [RECIPE, "--lang", "de", "--release", "cv", "--normalizer", "whisper-basic", "--stage", "1"]
    command += ["--config", tmp_path / "toy.yaml", "--ngpu", "0", "--nj", "1", "--work_dir", tmp_path / "work"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "VIRTUAL_ENV": sys.prefix, "COMMON_VOICE": str(tmp_path)}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    config = load_config(tmp_path / "toy.yaml")
    for name in ("train", "dev", "test"):
        assert read_language(tmp_path / "work/data" / name) == "de"
        (dumped,) = (tmp_path / "work/dump").glob(f"*/{name}")
        opened = open_set(config, dumped)
        assert {opened[utt_id].language for utt_id in opened.utt_ids} == {"German"}
    assert "übermorgen fährt er heim" in (tmp_path / "work/exp/toy/decode/test/score/ref.trn").read_text("utf-8")
    assert "whisper-basic (transformers " in (tmp_path / "work/exp/toy/RESULTS.md").read_text("utf-8")

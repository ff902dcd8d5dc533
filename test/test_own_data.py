"""The commands of egs/OWN_DATA.md, run on toy data: the imports unchanged, the recipes with --dry_run."""

import argparse
import gzip
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from page_blocks import read_blocks, read_page
from toy_tree import ROOT, copy_tree, run_in

from speechllm.bin import average, pseudo_label
from speechllm.data.kaldi.data_dir import read_data_dir, read_language
from speechllm.experiment import load_config

PAGE = read_page("egs/OWN_DATA.md")
BLOCKS = read_blocks("egs/OWN_DATA.md")
MINE = "/data/mine"  # where the commands suppose the data
SIZES = {"train": 4, "dev": 3, "test": 2}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a new recipe, created by the commands of the page, in a copy of the tree."""
    tree = copy_tree(tmp_path / "tree")
    begin = BLOCKS["new_recipe"].replace("python ../../tools/offline_models/fetch_models.py", "echo")
    assert begin != BLOCKS["new_recipe"]
    result = run_in(tree, tree / "egs", "bash", "-euc", begin)
    assert result.returncode == 0, result.stderr
    return tree / "egs/my_corpus"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return the folders of the toy audio of each set."""
    for name, number in SIZES.items():
        for i in range(number):
            path = tmp_path / "mine/wavs" / f"{name}{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.full(1600 * (i + 2), 1000 * i, np.int16), 16000)
    return tmp_path / "mine"


def utterances(mine: Path, name: str) -> list[tuple[Path, str, str]]:
    """Return path, transcript and speaker of each utterance of a set."""
    wavs = sorted((mine / "wavs").glob(f"{name}*.wav"))
    return [(wav, f"hello {wav.stem}", f"speaker{i % 2}") for i, wav in enumerate(wavs)]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def lines(objects: list[dict[str, object]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in objects)


def make_folder(mine: Path) -> None:
    for name in SIZES:
        for wav, text, _ in utterances(mine, name):
            write(mine / "folder" / name / f"{wav.stem}.txt", text)
            shutil.copy(wav, mine / "folder" / name)


def make_tables(mine: Path) -> None:
    write(mine / "train.tsv", "".join(f"{wav}\t{text}\n" for wav, text, _ in utterances(mine, "train")))
    for name, header in (("dev", "path,text,speaker"), ("test", "recording,words,who")):
        rows = "".join(f'{wav},"{text}",{who}\n' for wav, text, who in utterances(mine, name))
        write(mine / f"{name}.csv", f"{header}\n{rows}")


def make_audiofolder(mine: Path) -> None:
    for name in SIZES:
        rows = "".join(f"{wav},{text},{who}\n" for wav, text, who in utterances(mine, name))
        write(mine / "audiofolder" / name / "metadata.csv", f"file_name,transcription,speaker_id\n{rows}")


def make_huggingface(mine: Path) -> None:
    datasets, pyarrow = pytest.importorskip("datasets"), pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def table(name: str, text: str) -> object:
        schema = datasets.Features({"audio": datasets.Audio(), text: datasets.Value("string")}).arrow_schema
        examples = [
            {"audio": {"bytes": held(wav), "path": wav.name}, text: words} for wav, words, _ in utterances(mine, name)
        ]
        return pyarrow.Table.from_pylist(examples, schema=schema)

    splits = {
        split: datasets.Dataset(table(name, "text")) for split, name in (("train", "train"), ("validation", "dev"))
    }
    datasets.DatasetDict(splits).save_to_disk(str(mine / "saved"))
    (mine / "parquet/data").mkdir(parents=True)
    parquet.write_table(table("test", "sentence"), mine / "parquet/data/test-00000-of-00001.parquet")


def held(wav: Path) -> bytes:
    """Return the audio of a file under the name of a missing file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, soundfile.read(wav, dtype="int16")[0], 16000, format="WAV")
    return buffer.getvalue()


def make_lhotse(mine: Path) -> None:
    for name in SIZES:
        recordings, supervisions, cuts = [], [], []
        for wav, text, who in utterances(mine, name):
            duration = soundfile.info(wav).duration
            recordings.append({"id": wav.stem, "sources": [{"type": "file", "channels": [0], "source": str(wav)}]})
            one = {"id": wav.stem, "recording_id": wav.stem, "start": 0, "duration": duration, "text": text}
            supervisions.append(one | {"speaker": who})
            cut = {"id": wav.stem, "start": 0, "duration": duration, "type": "MonoCut", "recording": recordings[-1]}
            cuts.append(cut | {"supervisions": [supervisions[-1]]})
        write(mine / f"lhotse/mine_recordings_{name}.jsonl.gz", lines(recordings))
        write(mine / f"lhotse/mine_supervisions_{name}.jsonl.gz", lines(supervisions))
        write(mine / f"lhotse/cuts_{name}.jsonl.gz", lines(cuts))


def make_nemo(mine: Path) -> None:
    for name in SIZES:
        objects = [
            {"audio_filepath": str(wav), "text": text, "duration": soundfile.info(wav).duration, "speaker": who}
            for wav, text, who in utterances(mine, name)
        ]
        write(mine / f"{name}_manifest.json", lines(objects))


def make_transcription(mine: Path) -> None:
    for name in SIZES:
        rows = "".join(f"<s> {text} </s> ({wav.stem})\n" for wav, text, _ in utterances(mine, name))
        write(mine / "etc" / f"mine_{name}.transcription", rows)


def make_kaldi(mine: Path) -> None:
    for name in SIZES:
        utts = [(f"{who}-{wav.stem}", wav, text, who) for wav, text, who in utterances(mine, name)]
        for table, column in (("wav.scp", 1), ("text", 2), ("utt2spk", 3)):
            write(mine / "kaldi" / name / table, "".join(f"{utt[0]} {utt[column]}\n" for utt in sorted(utts)))


def make_one_table(mine: Path) -> None:
    rows = [f"{wav}\t{text}\n" for name in SIZES for wav, text, _ in utterances(mine, name)]
    write(mine / "all.tsv", "".join(rows))


def make_root(mine: Path) -> None:
    for name in SIZES:
        rows = "".join(f"../wavs/{wav.name}\t{text}\t{who}\n" for wav, text, who in utterances(mine, name))
        write(mine / "tables" / f"{name}.tsv", rows)


def make_one_speaker(mine: Path) -> None:
    rows = [(wav, text) for name in SIZES for wav, text, _ in utterances(mine, name)]
    write(mine / "one_speaker.tsv", "".join(f"{wav}\t{text}\tann\n" for wav, text in rows))


MAKERS = {
    "import_folder": make_folder,
    "import_table": make_tables,
    "import_audiofolder": make_audiofolder,
    "import_huggingface": make_huggingface,
    "import_lhotse": make_lhotse,
    "import_nemo": make_nemo,
    "import_transcription": make_transcription,
    "import_kaldi": make_kaldi,
    "import_one_set": make_one_table,
    "import_one_speaker": make_one_speaker,
    "import_corpus_module": make_root,
}


def test_every_block_is_run() -> None:
    assert set(BLOCKS) == {
        *MAKERS,
        "new_recipe",
        "run",
        "fine_tune",
        "initial_share",
        "another_language",
        "pseudo_label",
    }


@pytest.mark.parametrize("name", MAKERS)
def test_from_what_you_have_to_data(name: str, recipe: Path, mine: Path) -> None:
    MAKERS[name](mine)
    assert MINE in BLOCKS[name]
    commands = BLOCKS[name].replace(MINE, str(mine)).replace("./run.sh", "./run.sh --stage 1 --stop_stage 1")
    commands = commands.replace("--utterances 100", "--utterances 2").replace("--utterances 50", "--utterances 3")
    result = run_in(recipe.parents[1], recipe, "bash", "-euc", commands)
    assert result.returncode == 0, result.stderr
    sizes = {name: len(read_data_dir(recipe / "data" / name).utts) for name in SIZES}
    assert sizes == ({"train": 7, "dev": 1, "test": 1} if name == "import_one_set" else SIZES)
    for name in SIZES:
        utts = read_data_dir(recipe / "data" / name).utts
        assert not (recipe / "data" / name / "dropped").exists()
        assert all(utt.text is not None and re.fullmatch(r"hello (train|dev|test)\d", utt.text) for utt in utts)
        assert {utt.text: utt.duration for utt in utts} == {
            utt.text: soundfile.info(mine / "wavs" / f"{utt.text.split()[1]}.wav").duration for utt in utts
        }


def test_from_data_to_scores(recipe: Path, mine: Path) -> None:
    """The rest of the recipe, dry, finds the sets under the names that the page imports them to."""
    result = run_in(recipe.parents[1], recipe, "bash", "-euc", BLOCKS["run"].replace("./run.sh", "./run.sh --dry_run"))
    assert result.returncode == 0, result.stderr
    assert re.search(r"speechllm dump .* --data data --dump dump train dev test\n", result.stderr)
    assert "# stage 1" not in result.stderr
    assert "speechllm score_sets --normalizer librispeech --data data exp/train test\n" in result.stderr
    assert "--output exp/train/RESULTS.md" in result.stderr
    assert "exp/train/RESULTS.md" in PAGE


def test_fine_tuning(recipe: Path) -> None:
    """The runs, dry, go to the experiments that are compared."""
    commands = (
        BLOCKS["fine_tune"].replace("./run.sh", "./run.sh --dry_run").replace("speechllm compare", "echo compared")
    )
    result = run_in(recipe.parents[1], recipe, "bash", "-euc", commands)
    assert result.returncode == 0, result.stderr
    trained = re.findall(r"speechllm train .* (\S+)$", result.stdout, re.MULTILINE)
    assert trained == ["exp/train", "exp/train_600"]
    assert re.findall(r"speechllm results (\S+)", result.stderr) == ["exp/base-smollm2-whisper-ctc", *trained]
    assert "compared exp/base-smollm2-whisper-ctc exp/train\n" in result.stdout


def test_interpolation_with_the_initial_weights(recipe: Path) -> None:
    """The average of the experiment is decoded again."""
    averaged, decoded = BLOCKS["initial_share"].splitlines()
    parser = argparse.ArgumentParser()
    average.add_arguments(parser)
    assert averaged.split()[:2] == ["speechllm", "average"]
    args = parser.parse_args(averaged.split()[2:])
    assert 0 < args.initial_share < 1
    dry = run_in(recipe.parents[1], recipe, "bash", "-euc", decoded.replace("./run.sh", "./run.sh --dry_run"))
    assert dry.returncode == 0, dry.stderr
    assert "# stage 4" not in dry.stderr
    assert re.search(rf"speechllm decode .*{args.exp_dir} test$", dry.stderr, re.MULTILINE)


def test_another_language(recipe: Path, mine: Path) -> None:
    """The YAML is read, the language is that of each set, and the run is dry."""
    make_folder(mine)
    commands = BLOCKS["import_folder"].replace(MINE, str(mine)) + BLOCKS["another_language"]
    commands = commands.replace("./run.sh", "./run.sh --dry_run")
    result = run_in(recipe.parents[1], recipe, "bash", "-euc", commands)
    assert result.returncode == 0, result.stderr
    assert [read_language(recipe / "data" / name) for name in SIZES] == ["de"] * 3
    config = load_config(recipe / "conf/german.yaml")
    assert config.prompt.takes_language
    assert "--config conf/german.yaml" in result.stdout
    assert "speechllm score_sets --normalizer whisper-basic --data data exp/german test\n" in result.stderr


def test_pseudo_labels(recipe: Path, mine: Path) -> None:
    """The speech is imported; the other commands, not run, fit its name."""
    shutil.copytree(mine / "wavs", mine / "speech")
    imported, labelled, training = BLOCKS["pseudo_label"].replace(MINE, str(mine)).splitlines()
    result = run_in(recipe.parents[1], recipe, "bash", "-euc", imported)
    assert result.returncode == 0, result.stderr
    assert len(read_data_dir(recipe / "data/speech", need_text=False).utts) == sum(SIZES.values())
    parser = argparse.ArgumentParser()
    pseudo_label.add_arguments(parser)
    args = parser.parse_args(labelled.split()[2:])
    assert labelled.split()[:2] == ["speechllm", "pseudo_label"]
    assert args.data == Path("data/speech")
    dry = run_in(recipe.parents[1], recipe, "bash", "-euc", training.replace("./run.sh", "./run.sh --dry_run"))
    assert f"--train train {args.out} --valid dev" in dry.stdout


def test_the_models_are_known() -> None:
    known = (ROOT / "tools/offline_models/fetch_models.py").read_text()
    names = re.search(r"fetch_models\.py (.*)", BLOCKS["new_recipe"])
    assert names is not None
    assert all(f'"{name}"' in known for name in names[1].split())


def test_the_table_of_formats_is_that_of_the_code() -> None:
    from speechllm.data.kaldi.data_dir import TABLES

    assert re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE) == [*TABLES, "language", "dropped"]

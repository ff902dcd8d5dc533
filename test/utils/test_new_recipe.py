"""A recipe for a new corpus, created in a copy of the tree."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_tree import ROOT, copy_tree, run_in

from speechllm import experiment
from speechllm.build import build
from speechllm.models.weights import save_weights
from speechllm.pretrained.directory import read_model

FILES = ["RESULTS.md", "cmd.sh", "conf", "path.sh", "run.sh"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the tree."""
    return copy_tree(tmp_path / "tree")


def new_recipe(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_in(tree, tree, str(tree / "utils/new_recipe.sh"), *arguments)


def make_corpus(root: Path) -> Path:
    """Write three sets of two speakers, one of them with an unusable line."""
    for name, number in (("train", 4), ("dev", 2), ("test", 2)):
        lines = []
        for i in range(number):
            (root / "wav").mkdir(parents=True, exist_ok=True)
            soundfile.write(root / f"wav/{name}{i}.wav", np.zeros(1600 * (i + 1)), 16000)
            lines.append(f"wav/{name}{i}.wav\thello {i}\tspeaker{i % 2}\n")
        (root / f"{name}.tsv").write_text("".join(lines))
    with (root / "train.tsv").open("ab") as file:
        file.write(b"wav/none.wav\thello\tann\nwav/train0.wav caf\xe9\n")
    return root


def test_it_prepares_and_runs_dry_as_written(tree: Path, tmp_path: Path) -> None:
    result = new_recipe(tree, "my_voices2")
    assert result.returncode == 0, result.stderr
    assert "MY_VOICES2=/path/to/my_voices2 ./run.sh --stop_stage 1" in result.stdout
    recipe = tree / "egs/my_voices2"
    assert sorted(path.name for path in recipe.iterdir()) == FILES
    assert sorted(path.name for path in (recipe / "conf").iterdir()) == ["train.yaml", "train_ctc.yaml"]
    assert "my_corpus" not in "".join(path.read_text() for path in recipe.rglob("*") if path.is_file())
    corpus = make_corpus(tmp_path / "corpus")
    result = run_in(tree, recipe, "./run.sh", "--stage", "1", "--stop_stage", "1", MY_VOICES2=str(corpus))
    assert result.returncode == 0, result.stderr
    assert "data/train: 4 utterances, 2 speakers" in result.stdout
    assert "data/dev: 2 utterances" in result.stdout
    assert "data/test: 2 utterances" in result.stdout
    assert (recipe / "data/train/text").read_text().startswith("speaker0-train0 hello 0\n")
    dropped = (recipe / "data/train/dropped").read_text()
    assert "ann-none missing audio" in dropped
    assert "train.tsv:6 not two or three columns of UTF-8" in dropped
    result = run_in(tree, recipe, "./run.sh", "--dry_run", MY_VOICES2=str(corpus))
    assert result.returncode == 0, result.stderr
    for stage in range(7):
        assert f"# stage {stage}:" in result.stderr
    assert "speechllm download my_voices2 " in result.stderr
    assert " --train train --valid dev " in result.stdout + result.stderr


def test_a_corpus_that_is_not_there_is_a_sentence(tree: Path, tmp_path: Path) -> None:
    new_recipe(tree, "mine")
    result = run_in(tree, tree / "egs/mine", "./run.sh", MINE="")
    assert result.returncode == 2
    assert "found no corpus folder, expected one; set MINE" in result.stderr
    for stage in ("0", "1"):
        result = run_in(tree, tree / "egs/mine", "./run.sh", "--stage", stage, MINE=str(tmp_path / "none"))
        assert result.returncode == 1
        assert "no such file, expected the set" in result.stderr
        assert f"check MINE={tmp_path / 'none'}" in result.stderr


def test_nothing_is_overwritten(tree: Path) -> None:
    assert new_recipe(tree, "mine").returncode == 0
    files = [path for folder in ("egs", "speechllm/corpora") for path in (tree / folder).rglob("*.*")]
    before = {path: path.stat().st_mtime_ns for path in files if path.is_file()}
    for name, there in (("mine", "egs/mine"), ("librispeech", "egs/librispeech")):
        result = new_recipe(tree, name)
        assert result.returncode == 2
        assert f"{tree / there} exists already" in result.stderr
    shutil.rmtree(tree / "egs/mine")
    assert "speechllm/corpora/mine.py exists already" in new_recipe(tree, "mine").stderr
    for path, time in before.items():
        assert not path.exists() or path.stat().st_mtime_ns == time


@pytest.mark.parametrize("name", ["", "Mine", "my-corpus", "2mine", "my corpus", "../mine", "m\u00fc", "_mine"])
def test_names_are_checked(tree: Path, name: str) -> None:
    result = new_recipe(tree, name)
    assert result.returncode == 2
    assert f"found the name '{name}', expected lower case letters, digits and underscores" in result.stderr
    assert sorted(path.name for path in (tree / "egs").iterdir()) == ["cmd.sh", "librispeech"]


def test_one_name_is_wanted_and_help_is_given(tree: Path) -> None:
    for arguments in ([], ["a", "b"]):
        result = new_recipe(tree, *arguments)
        assert result.returncode == 2
        assert f"found {len(arguments)} arguments, expected one" in result.stderr
    result = new_recipe(tree, "--help")
    assert result.returncode == 0
    assert "utils/new_recipe.sh NAME" in result.stdout


def test_its_python_is_in_style(tree: Path) -> None:
    """The name may be longer or shorter than that of the template; imports stay sorted."""
    checker = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if checker is None:
        pytest.skip("ruff is not installed; it comes with the extra dev")
    new_recipe(tree, "a_rather_long_name_of_a_corpus")
    shutil.copy(ROOT / ".ruff.toml", tree)
    result = run_in(tree, tree, checker, "check", "speechllm/corpora")
    assert result.returncode == 0, result.stdout


def test_its_default_fine_tunes_the_model_that_ships(tree: Path) -> None:
    new_recipe(tree, "mine")
    conf = tree / "egs/mine/conf"
    tuned, scratch = (experiment.load_config(conf / f"{name}.yaml") for name in ("train", "train_ctc"))
    shipped = read_model(tuned.train.init_from).config
    assert tuned.connector == shipped.connector
    for config in (tuned, scratch):
        assert config.frontend == shipped.frontend
        assert (config.prompt, config.data.transcript) == (shipped.prompt, shipped.data.transcript)
        for part, base in ((config.encoder, shipped.encoder), (config.decoder, shipped.decoder)):
            assert Path(part.path).name == Path(base.path).name
            assert replace(part, path=base.path, **kept(base)) == base
    assert tuned.train.ctc_steps == 0
    assert scratch.train.init_from is None
    assert scratch.train.ctc_steps > 0


@pytest.fixture
def other_model(tmp_path: Path, tiny_whisper: Path, tiny_llm: Path) -> Path:
    """Return an experiment with a connector that the shipped model does not have."""
    exp_dir = tmp_path / "exp/other"
    exp_dir.mkdir(parents=True)
    (exp_dir / "config.yaml").write_text(
        f"frontend: {{type: log_mel}}\nencoder: {{type: whisper, path: {tiny_whisper}}}\n"
        f"connector: {{type: fc, stack: 10, hidden: 32}}\ndecoder: {{type: causal_lm, path: {tiny_llm}}}\n"
        "train: {ctc_steps: 5, llm_lr: 1e-3, max_steps: 9}\n"
    )
    built = build(experiment.load_config(exp_dir / "config.yaml"), torch.float32)
    trained = {name: p for name, p in built.model.named_parameters() if p.requires_grad}
    save_weights(exp_dir / "model.safetensors", trained, {"bases": built.bases})
    return exp_dir


def test_another_model_to_fine_tune(tree: Path, other_model: Path) -> None:
    result = new_recipe(tree, "mine", "--from", str(other_model))
    assert result.returncode == 0, result.stderr
    paths = tree / "egs/mine/conf/train.yaml", other_model / "config.yaml"
    tuned, trained = (experiment.load_config(path) for path in paths)
    parts = ("frontend", "encoder", "connector", "decoder", "prompt", "decode")
    assert all(getattr(tuned, part) == getattr(trained, part) for part in parts)
    assert (tuned.train.init_from, tuned.train.max_steps, tuned.train.ctc_steps) == (str(other_model), 300, 0)
    assert tuned.train.llm_lr is None
    result = new_recipe(tree, "yours", "--from", "nobody/none")
    assert result.returncode == 2
    assert "show_config: nobody/none: no such directory" in result.stderr
    assert not (tree / "egs/yours").exists()
    assert not (tree / "speechllm/corpora/yours.py").exists()


def kept(part: object) -> dict[str, object]:
    """Return the setting of a base model that packing changes: its tokenizer."""
    return {"tokenizer": part.tokenizer} if hasattr(part, "tokenizer") else {}


def test_it_runs_on_a_cluster(tree: Path) -> None:
    new_recipe(tree, "mine")
    result = run_in(tree, tree / "egs/mine", "./run.sh", "--dry_run", "--stage", "2", CMD_BACKEND="slurm")
    assert result.returncode == 0, result.stderr
    assert "run_slurm.sh --cpus-per-task=2 JOB=1:2 exp/train/log/dump.JOB.log" in result.stderr
    assert "train_slurm.sh 1 0 python3 -m speechllm train" in result.stdout
    assert "run_slurm.sh --cpus-per-task=2 JOB=1:1 exp/train/log/decode.JOB.log" in result.stderr


@pytest.mark.slow
def test_its_default_from_corpus_to_scores(tree: Path, tmp_path: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    """All stages on models of random weights; training starts from a tiny model instead of the shipped one."""
    new_recipe(tree, "mine")
    recipe, begin = tree / "egs/mine", tmp_path / "begin"
    small = [f"encoder.path={tiny_whisper}", f"decoder.path={tiny_llm}", "connector.bpe_merges=20"]
    small += [f"train.init_from={begin}", "train.max_steps=2", "train.valid_every=1"]
    small += ["data.batch_size=2", "data.min_duration=0", "train.dtype=float32"]
    config = experiment.load_config(recipe / "conf/train.yaml", small)
    built = build(config, torch.float32)
    trained = {name: p for name, p in built.model.named_parameters() if p.requires_grad}
    save_weights(begin / "model.safetensors", trained, {"bases": built.bases})
    corpus = make_corpus(tmp_path / "corpus")
    options = ["--stage", "1", "--nj", "1", "--set", " ".join([*small, "prompt.template='Heard: <speech>'"])]
    result = run_in(tree, recipe, "./run.sh", *options, MINE=str(corpus))
    assert result.returncode == 0, result.stderr[-3000:]
    command = re.search(r"```sh\n(.*)\n```", (recipe / "exp/train/RESULTS.md").read_text())
    assert command is not None
    assert shlex.split(command[1]) == [f"MINE={corpus}", "./run.sh", *options]
    assert (recipe / "exp/train/report.html").is_file()
    again = run_in(tree, recipe, "bash", "-c", command[1], MINE="")
    assert again.returncode == 0, again.stderr[-3000:]

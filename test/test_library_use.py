"""The Python of speechllm/README.md, run with tiny models in place of the published ones."""

import re
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
import torch
from forked import Forked, python
from page_blocks import read_blocks, read_page

from speechllm import experiment
from speechllm.build import build
from speechllm.models.weights import save_weights

BLOCKS = read_blocks("speechllm/README.md")
TOY = """
frontend: {{type: log_mel}}
encoder: {{type: whisper, path: {whisper}, padding: none}}
decoder: {{type: causal_lm, path: {llm}}}
prompt: {{template: "hear <speech> say"}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, with the two recordings named in the page."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.wav", "b.wav")):
        noise_N = np.random.default_rng(seed).uniform(-0.3, 0.3, 16000 + 4000 * seed)
        soundfile.write(tmp_path / name, noise_N, 16000)
    return tmp_path


def run(code: str, whisper: Path, llm: Path) -> str:
    for name, path in (("openai/whisper-tiny.en", whisper), ("HuggingFaceTB/SmolLM2-135M-Instruct", llm)):
        code = code.replace(name, str(path))
    done = Forked(python, code).wait()
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_it_is_short(block: str) -> None:
    assert block.count("\n") < 40


def test_a_connector_is_trained(folder: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    """The loss of untrained models of 400 tokens is about 6 nats; memorising two texts brings it far below."""
    printed = run(BLOCKS["train_connector"], tiny_whisper, tiny_llm)
    assert float(re.match(r"loss ([\d.]+):", printed)[1]) < 3.0


def test_a_connector_of_ones_own_and_a_prompt(
    folder: Path, tiny_whisper: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "my_lab").mkdir()
    (folder / "my_lab/every_other.py").write_text(BLOCKS["define_connector"])
    monkeypatch.syspath_prepend(folder)
    exp = folder / "exp/train"
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text(TOY.format(whisper=tiny_whisper, llm=tiny_llm) + BLOCKS["name_connector"])
    config = experiment.load_config(exp / "config.yaml")
    assert config.connector.step == 20
    built = build(config, torch.float32)
    state = {name: p for name, p in built.model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in state} == {"connector"}
    save_weights(exp / "model.safetensors", state, {"bases": built.bases})
    assert run(BLOCKS["change_prompt"], tiny_whisper, tiny_llm).endswith("\n")


def make_experiment(exp: Path, text: str) -> None:
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text(text)
    built = build(experiment.load_config(exp / "config.yaml"), torch.float32)
    state = {name: p for name, p in built.model.named_parameters() if p.requires_grad}
    save_weights(exp / "model.safetensors", state, {"bases": built.bases})


def test_words_have_times(folder: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    connector = "connector: {type: ctc, stack: 1, hidden: 64, num_layers: 1, bpe_merges: 20}\n"
    connector += "decode: {extra_tokens: 1, tokens_per_second: 4}\n"
    make_experiment(folder / "exp/train", TOY.format(whisper=tiny_whisper, llm=tiny_llm) + connector)
    lines = run(BLOCKS["word_times"], tiny_whisper, tiny_llm).splitlines()
    times = [float(time) for line in lines for time in line.split()[1:3]]
    assert lines and times == sorted(times) and times[-1] <= 1.0


def test_a_context_is_given(folder: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    own = TOY.format(whisper=tiny_whisper, llm=tiny_llm).replace('prompt: {template: "hear <speech> say"}\n', "")
    make_experiment(folder / "exp/train", f"{own}connector: {{type: fc, stack: 10, hidden: 32}}\n{BLOCKS['hot_words']}")
    config = experiment.load_config(folder / "exp/train/config.yaml")
    assert config.prompt.takes_context and config.data.hot_words.distractors == 20
    assert run(BLOCKS["transcribe_context"], tiny_whisper, tiny_llm).endswith("\n")


def test_a_qformer_with_locality(folder: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    (connector,) = re.findall(r"`(connector: \{type: qformer.*?)`", read_page("speechllm/README.md"))
    (folder / "config.yaml").write_text(TOY.format(whisper=tiny_whisper, llm=tiny_llm) + connector)
    built = build(experiment.load_config(folder / "config.yaml"), torch.float32)
    assert "connector.qformer.locality.log_width_H" in dict(built.model.named_parameters())


def test_states_are_dumped(folder: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    run(BLOCKS["write_states"], tiny_whisper, tiny_llm)
    states = dict(kaldiio.load_scp("states.scp"))
    assert [matrix.shape for matrix in states.values()] == [(51, 64), (64, 64)]

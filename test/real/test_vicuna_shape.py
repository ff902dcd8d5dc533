"""The paper's YAML without changes, trained for a step on a Vicuna-shaped LLM with the Llama-2 tokenizer."""

import json
from pathlib import Path

import pytest
import transformers
from forked import Forked, speechllm
from toy_data import make_data_dir

from speechllm import experiment
from speechllm.data.dump import merge_dump
from speechllm.decoders.causal_lm import Config
from speechllm.inference.dump import dump
from speechllm.models.prompt import Prompt
from speechllm.train.metrics import read_metrics

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs/librispeech"
YAML = RECIPE / "conf/whisper_large_v2_vicuna_13b_qf80.yaml"
TOKENIZER = ROOT / "downloads/models/llama2-tokenizer"
pytestmark = pytest.mark.skipif(not TOKENIZER.is_dir(), reason="needs fetch_models.py llama2-tokenizer")


@pytest.fixture(scope="module")
def tiny_vicuna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vicuna") / "model"
    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    transformers.AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(path)
    return path


def test_tokens_of_the_vicuna_prompt(tiny_vicuna: Path) -> None:
    decoder = Config(path=str(tiny_vicuna)).build()
    prompt = Prompt(experiment.load_config(YAML).prompt, decoder)
    before, after = prompt.parts("utt", None)
    assert before[0] == decoder.tokenizer.bos_token_id == 1
    assert 1 not in after
    assert decoder.tokenizer.decode(before[1:]).strip() == "USER: <Speech>"
    assert decoder.tokenizer.decode(after).endswith("ASSISTANT:")
    assert decoder.tokenize("Hello", end=True)[-1] == 2


@pytest.mark.slow
def test_a_training_step_and_its_plan(
    tmp_path: Path, tiny_whisper: Path, tiny_vicuna: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RECIPE)
    models = [f"encoder.path={tiny_whisper}", f"decoder.path={tiny_vicuna}"]
    config = experiment.load_config(YAML, models)
    data_dir = make_data_dir(tmp_path, 0.6, 0.9, 1.2)
    dump(config, data_dir, tmp_path / "dump", nj=1, job=1)
    merge_dump(data_dir, tmp_path / "dump", 1)
    dumps = ["--train", str(tmp_path / "dump"), "--valid", str(tmp_path / "dump")]
    overrides = [*models, "train.max_steps=2", "train.log_every=1", "data.num_workers=0"]
    settings = [f"--set={override}" for override in overrides]
    result = Forked(speechllm, ["train", "--config", str(YAML), *dumps, *settings, str(tmp_path / "exp")]).wait()
    assert result.returncode == 0, result.stderr[-3000:]
    assert "ZeRO stage 2, bfloat16" in result.stdout
    rows = [row for row in read_metrics(tmp_path / "exp/metrics.jsonl") if row["kind"] == "train"]
    assert len(rows) == 2 and all(0 < row["loss"] < 20 for row in rows), json.dumps(rows)

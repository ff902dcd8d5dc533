"""Training started as by a user: its files, decreasing loss, and exact resume after a kill."""

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
import torch
import transformers
from forked import Forked
from toy_experiment import Toy

from speechllm import experiment
from speechllm.build import load_model
from speechllm.data.kaldi.table import read_table
from speechllm.errors import ConfigError
from speechllm.inference.jobs import merge_jobs
from speechllm.inference.run import SetToDecode, decode
from speechllm.models.weights import read_weights
from speechllm.provenance import file_fingerprint
from speechllm.train.average import average
from speechllm.train.metrics import read_metrics


def losses(exp_dir: Path) -> list[float]:
    rows = [row for row in read_metrics(exp_dir / "metrics.jsonl") if row["kind"] == "train"]
    return [row.get("ctc_loss", row.get("loss")) for row in rows]


def end_after_the_first_checkpoint(
    process: Forked | subprocess.Popen[bytes], exp_dir: Path, signal_: signal.Signals
) -> dict[str, Any]:
    """End training after its first checkpoint; return the position that it resumes from."""
    while not (exp_dir / "checkpoints/resume.json").exists():
        assert process.poll() is None, "ended before its first checkpoint"
        time.sleep(0.02)
    os.kill(process.pid, signal_)
    process.wait()
    position: dict[str, Any] = json.loads((exp_dir / "checkpoints/resume.json").read_text())["position"]
    return position


def assert_same(exp_dir: Path, whole: Path) -> None:
    """Losses and best checkpoints are those of a training that nothing ended, to the bit."""
    assert losses(exp_dir) == losses(whole)
    for path in (whole / "best").iterdir():
        expected, found = read_weights(path), read_weights(exp_dir / "best" / path.name)
        assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.fixture(scope="module")
def trained(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    exp_dir = tmp_path_factory.mktemp("exp") / "whole"
    result = subprocess.run(toy.command(exp_dir), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "memory per process" in result.stdout
    assert "CUDA" not in result.stderr and "accelerator" not in result.stdout + result.stderr
    assert "control gap" in result.stdout
    assert result.stdout.count("HYP") == 3 * 3
    return exp_dir


def test_an_experiment_holds_what_the_design_says(trained: Path) -> None:
    for name in ("config.yaml", "run.yaml", "metrics.jsonl", "images/loss.png", "images/accuracy.png", "skipped"):
        assert (trained / name).is_file(), name
    assert list((trained / "tensorboard").glob("events*"))
    assert len(losses(trained)) == 8
    kinds = [row["kind"] for row in read_metrics(trained / "metrics.jsonl")]
    assert kinds.count("valid") == 3
    assert len(list((trained / "best").iterdir())) == 2  # keep_best
    assert [p.name for p in (trained / "checkpoints").glob("step_*")] == ["step_8"]


def test_no_frozen_weight_is_written(trained: Path) -> None:
    assert all(name.startswith("connector.") for name in read_weights(next((trained / "best").iterdir())))
    assert sum(p.stat().st_size for p in (trained / "checkpoints").rglob("*.pt")) < 4e6


def test_killed_and_started_again_ends_with_the_same_weights(toy: Toy, trained: Path, tmp_path: Path) -> None:
    exp_dir = tmp_path / "killed"
    position = end_after_the_first_checkpoint(toy.start(exp_dir), exp_dir, signal.SIGKILL)
    assert position["step"] == position["sampler"]["position"] == 3  # amid an epoch of four batches
    result = toy.run(exp_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "resumed at step 3 of 8" in result.stdout
    assert_same(exp_dir, trained)


def test_speech_is_joined_after_the_steps_of_ctc_and_a_kill_changes_nothing(toy: Toy, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    overrides = ["data.concat={probability: 1.0, duration: 40}", "train.ctc_steps=4"]
    result = toy.run(whole, *overrides)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "train.ctc_steps: at least 100% of the utterances have more text tokens than" in result.stdout
    assert json.loads((whole / "checkpoints/resume.json").read_text())["position"]["sampler"]["concatenates"]
    position = end_after_the_first_checkpoint(toy.start(killed, *overrides), killed, signal.SIGKILL)
    assert (position["step"], position["sampler"]["concatenates"]) == (3, False)
    assert toy.run(killed, *overrides).returncode == 0
    assert_same(killed, whole)


def test_a_connector_that_ctc_alone_has_aligned_is_one_to_begin_from(toy: Toy, tmp_path: Path) -> None:
    aligned, exp_dir = tmp_path / "aligned", tmp_path / "exp"
    result = toy.run(aligned, "train.ctc_steps=8", "connector.num_queries=24")
    assert result.returncode == 0, result.stderr[-3000:]
    assert all("ctc_loss" in row for row in read_metrics(aligned / "metrics.jsonl"))
    assert "average of steps 6, 8" in average(aligned)
    still = [f"train.init_from={aligned}", "connector.num_queries=24", "train.max_steps=1", "train.lr=1e-12"]
    result = toy.run(exp_dir, *still)
    assert result.returncode == 0, result.stderr[-3000:]
    path = aligned / "model.safetensors"
    assert f"initial weights: {path}, fingerprint {file_fingerprint(path)}, " in result.stdout
    assert all("loss" in row for row in read_metrics(exp_dir / "metrics.jsonl"))
    begun, first = read_weights(aligned / "model.safetensors"), read_weights(exp_dir / "best/step_00000001.safetensors")
    assert all(torch.allclose(begun[name], first[name], atol=1e-6) for name in begun)
    goes_on = ["train.ctc_steps=8", "connector.num_queries=24", "train.max_steps=10", "train.keep_best=3"]
    result = toy.run(aligned, *goes_on)
    assert result.returncode == 0, result.stderr[-3000:]
    assert sorted(path.stem for path in (aligned / "best").iterdir()) == ["step_00000009", "step_00000010"]


def test_ctc_pre_training_alone_can_end_early(toy: Toy, tmp_path: Path) -> None:
    exp_dir, steps = tmp_path / "exp", lambda number: [f"train.ctc_steps={number}", f"train.max_steps={number}"]
    position = end_after_the_first_checkpoint(
        toy.start(exp_dir, *steps(8), "connector.num_queries=24"), exp_dir, signal.SIGTERM
    )
    assert "average of steps 3" in average(exp_dir)
    fewer = position["step"] + 1
    result = toy.run(exp_dir, *steps(fewer), "connector.num_queries=24")
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"resumed at step {position['step']} of {fewer}" in result.stdout
    assert json.loads((exp_dir / "checkpoints/resume.json").read_text())["position"]["step"] == fewer
    more = f"train.max_steps={fewer + 1}"  # one step with the LLM
    result = toy.run(exp_dir, f"train.ctc_steps={fewer + 1}", more, "connector.num_queries=24", "seed=2")
    assert "was trained with another seed; " in result.stderr
    result = toy.run(exp_dir, f"train.ctc_steps={fewer - 1}", more, "connector.num_queries=24")
    assert "was trained with another train.ctc_steps; " in result.stderr
    result = toy.run(exp_dir, f"train.ctc_steps={fewer}", more, "connector.num_queries=24")
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_ended_and_started_again_end_with_the_same_weights(toy: Toy, tmp_path: Path) -> None:
    """Under ZeRO 2, whose optimizer state is divided between them."""
    settings = tmp_path / "zero2.json"
    settings.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    whole, ended, option = tmp_path / "whole", tmp_path / "ended", f"train.deepspeed={settings}"
    assert toy.run(whole, option, processes=2).returncode == 0
    # the signal is for the launcher, which ends both
    launcher = subprocess.Popen(toy.command(ended, option, processes=2), stdout=DEVNULL, stderr=DEVNULL)
    position = end_after_the_first_checkpoint(launcher, ended, signal.SIGTERM)
    assert position["step"] < 8
    result = toy.run(ended, option, processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "resumed at step" in result.stdout
    assert_same(ended, whole)


def test_another_model_in_the_same_place_is_refused(toy: Toy, trained: Path) -> None:
    result = toy.run(trained, "connector.num_queries=5")
    assert result.returncode == 1
    assert "was trained with another connector; choose another --tag" in result.stderr
    assert "num_queries: 4" in (trained / "config.yaml").read_text()


def test_another_number_of_processes_is_refused(toy: Toy, trained: Path) -> None:
    result = toy.run(trained, "train.max_steps=9", processes=2)
    assert result.returncode != 0
    assert "found world_size 2, expected 1 for an exact resume" in result.stderr
    assert "max_steps: 8" in (trained / "config.yaml").read_text()


def test_it_learns_and_says_what_it_learned(toy: Toy, tmp_path: Path) -> None:
    """The toy's transcripts are all alike, so a few steps suffice to write them, end included; LoRA is saved too."""
    exp_dir = tmp_path / "learned"
    lora = "decoder.lora={rank: 8, modules: [q_proj, v_proj, o_proj, up_proj, down_proj]}"
    overrides = ["train.max_steps=100", "train.valid_every=50", "train.keep_best=1", "train.lr=5e-3", lora]
    result = toy.run(exp_dir, *overrides)
    assert result.returncode == 0, result.stderr[-3000:]
    assert losses(exp_dir)[-1] < 0.3 < 3.0 < losses(exp_dir)[0]
    assert any("lora_" in name for name in read_weights(exp_dir / "best/step_00000100.safetensors"))
    assert "average of steps 100" in average(exp_dir)
    out_dir = tmp_path / "decode"
    one = SetToDecode(source=toy.valid, out_dir=out_dir)
    for job in (1, 2):
        decode(exp_dir, experiment.read_experiment(exp_dir), [one], nj=2, job=job)
    assert "3 utterances" in merge_jobs(out_dir, read_table(toy.valid / "feats.scp"), 2)
    assert set(read_table(out_dir / "text").values()) == {"Hello world"}


def weights_of(exp_dir: Path) -> dict[str, torch.Tensor]:
    return read_weights(exp_dir / "model.safetensors")


def weights_after(sentence: str, exp_dir: Path, **options: float) -> dict[str, torch.Tensor]:
    """Average an experiment; return the weights."""
    assert sentence in average(exp_dir, **options)
    return weights_of(exp_dir)


def test_joined_speech_trains_segments_and_encoder_from_another_experiment(
    toy: Toy, trained: Path, tmp_path: Path
) -> None:
    """Fine-tuning on long speech: from the plain Q-Former, on concatenated utterances, including the encoder."""
    average(trained)
    overrides = [
        "connector={type: segment_qformer, num_queries: 4, hidden: 64}",
        "encoder.trained_layers=1",
        "train.encoder_lr=1e-4",
        f"train.init_from={trained}",
        "train.init_leave_out=[connector.qformer.output.*, encoder.*]",
        "data.concat={probability: 1.0, duration: 40}",
        "train.max_steps=2",
        "train.valid_every=1",
    ]
    result = toy.run(tmp_path / "exp", *overrides)
    assert result.returncode == 0, result.stderr[-3000:]
    names = read_weights(tmp_path / "exp/best/step_00000002.safetensors").keys()
    assert any(name.startswith("encoder.encoder.layers.1.") for name in names)
    initial, tuned = weights_of(trained), weights_after("average of steps 1, 2", tmp_path / "exp")
    mixed = weights_after("with a share of 0.25 of the initial weights", tmp_path / "exp", initial_share=0.25)
    assert any(not torch.equal(tuned[name], initial[name]) for name in tuned.keys() & initial.keys())
    for name, tensor in tuned.items():
        left_out = name not in initial or name.startswith(("connector.qformer.output.", "encoder."))
        expected = tensor if left_out else torch.lerp(tensor, initial[name], 0.25)
        assert torch.allclose(mixed[name], expected), name
    with pytest.raises(ConfigError, match=r"--initial_share: .* was trained from random weights"):
        average(trained, initial_share=0.5)
    result = toy.run(tmp_path / "other", *overrides[:4])
    assert result.returncode == 1
    assert "model.safetensors: does not fit the model: missing encoder.encoder.layers.1." in result.stderr


def test_a_loss_that_is_no_number_stops_with_a_sentence(toy: Toy, tmp_path: Path) -> None:
    result = toy.run(tmp_path / "exp", "train.lr=1e30", "train.warmup_steps=0")
    assert result.returncode == 1
    assert "found a validation loss of nan at step 3, expected a finite number; lower train.lr" in result.stderr
    assert not (tmp_path / "exp/best").exists()


def test_activation_checkpointing_changes_no_loss(toy: Toy, trained: Path, tmp_path: Path) -> None:
    result = toy.run(tmp_path / "exp", "train.activation_checkpointing=true", "train.max_steps=4")
    assert result.returncode == 0, result.stderr[-3000:]
    assert losses(tmp_path / "exp")[:2] == pytest.approx(losses(trained)[:2], abs=1e-5)


def losses_of_two_processes(toy: Toy, tmp_path: Path, stages_: list[int], *overrides: str) -> dict[int, list[float]]:
    """Train with two processes under each of these stages of ZeRO."""
    found = {}
    for stage in stages_:
        settings = tmp_path / f"zero{stage}.json"
        zero = {"stage": stage} | ({"stage3_param_persistence_threshold": 0} if stage == 3 else {})  # divide even these
        settings.write_text(json.dumps({"zero_optimization": zero}))
        exp_dir = tmp_path / f"exp{stage}"
        result = toy.run(exp_dir, f"train.deepspeed={settings}", *overrides, processes=2)
        assert result.returncode == 0, result.stderr[-3000:]
        found[stage] = losses(exp_dir)
    return found


@pytest.mark.slow
def test_two_processes_lose_the_same_under_every_zero_stage(toy: Toy, tmp_path: Path) -> None:
    """Without the LLM in the loop, in the first steps, and with it."""
    overrides = ["train.max_steps=10", "train.ctc_steps=4", "connector.num_queries=24", "connector.dropout=0.0"]
    found = losses_of_two_processes(toy, tmp_path, [0, 1, 2, 3], *overrides)
    for stage in (1, 2, 3):
        rows = [row for row in read_metrics(tmp_path / f"exp{stage}/metrics.jsonl") if row["kind"] == "train"]
        assert ["ctc_loss" in row for row in rows] == [True] * 4 + [False] * 6
        assert found[stage] == pytest.approx(found[0], abs=1e-5)  # measured: see the message on failure


@pytest.mark.slow
def test_cross_attention_reads_a_table_that_is_divided(toy: Toy, tmp_path: Path) -> None:
    config = tmp_path / "cross_attention.yaml"
    config.write_text(f"base: {toy.config}\nconnector: {{type: cross_attention, num_heads: 4, hidden: 64}}\n")
    found = losses_of_two_processes(
        replace(toy, config=config), tmp_path, [0, 3], "train.max_steps=6", "train.ctc_steps=2"
    )
    assert found[3] == pytest.approx(found[0], abs=1e-5)


@pytest.mark.slow
def test_a_connector_that_spells_learns_by_its_own_ctc_under_zero_3_too(toy: Toy, tmp_path: Path) -> None:
    config = tmp_path / "ctc.yaml"
    connector = "{type: ctc, stack: 2, hidden: 64, num_layers: 1, dropout: 0.0, mask: 0.0}"
    config.write_text(f"base: {toy.config}\nconnector: {connector}\n")
    overrides = "train.max_steps=6", "train.ctc_steps=3", "train.llm_lr=1e-3"
    found = losses_of_two_processes(replace(toy, config=config), tmp_path, [0, 3], *overrides)
    assert found[3] == pytest.approx(found[0], abs=1e-5)
    rows = [row for row in read_metrics(tmp_path / "exp3/metrics.jsonl") if row["kind"] == "train"]
    assert ["ctc_loss" in row for row in rows] == [True] * 3 + [False] * 3


@pytest.mark.slow
def test_the_time_that_a_chat_template_writes_is_that_of_the_first_start(
    toy: Toy, tiny_llm: Path, tmp_path: Path
) -> None:
    llm, exp_dir = tmp_path / "llm", tmp_path / "exp"
    shutil.copytree(tiny_llm, llm)
    tokenizer = transformers.AutoTokenizer.from_pretrained(llm)
    tokenizer.chat_template = "{{ strftime_now('%H:%M:%S.%f') }} {% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(llm)
    overrides = [f"decoder.path={llm}", "prompt={template: chat}"]
    texts = []
    for max_steps in (3, 5):
        result = toy.run(exp_dir, *overrides, f"train.max_steps={max_steps}")
        assert result.returncode == 0, result.stderr[-3000:]
        texts.append(experiment.read_experiment(exp_dir).prompt.chat_text)
    assert texts[0] is not None and texts[0] == texts[1]
    average(exp_dir)
    decoder = load_model(exp_dir, experiment.read_experiment(exp_dir), torch.float32).model
    before, after = decoder.prompt.parts("a", None)
    assert f"{tokenizer.decode(before)}<speech>{tokenizer.decode(after)}" == texts[0].replace(
        "{instruction}", "Transcribe the speech."
    )
    from_start = toy.run(tmp_path / "other", *overrides, "train.max_steps=1")
    assert from_start.returncode == 0, from_start.stderr[-3000:]
    assert experiment.read_experiment(tmp_path / "other").prompt.chat_text != texts[0]

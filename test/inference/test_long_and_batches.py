"""Decoding of a dump with a whole model: invariance to batch size, jobs and order, and long speech."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechllm import experiment, load
from speechllm.bin import main
from speechllm.build import build, load_model
from speechllm.data.dump import merge_dump
from speechllm.data.kaldi.data_dir import Utterance, write_data_dir
from speechllm.data.kaldi.table import read_table
from speechllm.errors import ConfigError, DataError
from speechllm.inference import run
from speechllm.inference.batches import decoding_batches, largest_tokens
from speechllm.inference.dump import dump
from speechllm.inference.jobs import merge_jobs
from speechllm.models.weights import save_weights
from speechllm.report.tables import collect

YAML = """
frontend: {{type: log_mel}}
encoder: {{type: whisper, path: {whisper}, padding: none}}
connector: {{type: fc, stack: 10, hidden: 32}}
decoder: {{type: causal_lm, path: {llm}}}
prompt: {{template: "hear <speech> say"}}
decode: {{tokens_per_second: 2, extra_tokens: 4, search: {{num_beams: 2, no_repeat_ngram: 3}}}}
"""
DURATIONS = (0.4, 1.1, 34.0, 0.7, 2.3)


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory: pytest.TempPathFactory, tiny_whisper: Path, tiny_llm: Path) -> Path:
    folder = tmp_path_factory.mktemp("decode")
    utts = []
    for i, duration in enumerate(DURATIONS):
        path = folder / f"s-{i}.flac"
        soundfile.write(path, np.random.default_rng(i).uniform(-0.3, 0.3, round(duration * 16000)), 16000)
        utts.append(Utterance(utt_id=f"s-{i}", speaker="s", path=path, duration=duration, text="X"))
    write_data_dir(folder / "data", utts)
    (folder / "config.yaml").write_text(YAML.format(whisper=tiny_whisper, llm=tiny_llm))
    config = experiment.load_config(folder / "config.yaml")
    dump(config, folder / "data", folder / "dump", nj=1, job=1)
    merge_dump(folder / "data", folder / "dump", 1)
    built = build(config, torch.float32)
    state = {name: 20 * p.detach() for name, p in built.model.named_parameters() if p.requires_grad}
    save_weights(folder / "model.safetensors", state, {"bases": built.bases})
    return folder


def dumped(exp_dir: Path, out_dir: Path, *, shuffled: bool = False) -> run.SetToDecode:
    return run.SetToDecode(source=exp_dir / "dump", out_dir=out_dir, shuffled=shuffled)


def decode(exp_dir: Path, out_dir: Path, *overrides: str, nj: int = 1) -> dict[str, str]:
    config = experiment.read_experiment(exp_dir, overrides=overrides)
    for job in range(1, nj + 1):
        run.decode(exp_dir, config, [dumped(exp_dir, out_dir)], nj=nj, job=job)
    merge_jobs(out_dir, read_table(exp_dir / "dump/feats.scp"), nj)
    return read_table(out_dir / "text", allow_empty=True)


def test_batches_and_jobs_change_no_text(exp_dir: Path, tmp_path: Path) -> None:
    alone = decode(exp_dir, tmp_path / "1", "decode.batch_size=1")
    assert len(alone) == len(DURATIONS)  # 34 s included
    assert len(set(alone.values())) > 1, "hypotheses that are all alike would prove nothing"
    assert decode(exp_dir, tmp_path / "8", "decode.batch_size=8") == alone
    assert decode(exp_dir, tmp_path / "tokens", "decode.batch_tokens=200") == alone
    assert decode(exp_dir, tmp_path / "jobs", "decode.batch_size=2", nj=3) == alone
    assert decode(exp_dir, tmp_path / "more", nj=9) == alone  # more jobs than utterances


def test_several_sets_are_decoded_by_a_model_that_is_loaded_once(
    exp_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    monkeypatch.setattr(run, "load_model", lambda *args: loads.append(args) or load_model(*args))
    sets = [dumped(exp_dir, tmp_path / "own"), dumped(exp_dir, tmp_path / "shuffled", shuffled=True)]
    run.decode(exp_dir, experiment.read_experiment(exp_dir), sets, nj=1, job=None)
    texts = [read_table(one.out_dir / "text", allow_empty=True) for one in sets]
    assert len(loads) == 1 and texts[0] == decode(exp_dir, tmp_path / "alone") != texts[1]


def test_the_language_of_a_set_is_in_its_prompts(exp_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(exp_dir / "dump", tmp_path / "dump")
    config = experiment.read_experiment(exp_dir)
    texts = {}
    for name, language in (("{language}", "de"), ("German", "de"), ("{language}", "fr")):
        (tmp_path / "dump/language").write_text(f"{language}\n")
        asked = replace(config, prompt=replace(config.prompt, template=f"hear {name} <speech> say"))
        one = run.SetToDecode(source=tmp_path / "dump", out_dir=tmp_path / f"{name} {language}")
        run.decode(exp_dir, asked, [one], nj=1, job=None)
        texts[name, language] = read_table(one.out_dir / "text", allow_empty=True)
    assert texts["{language}", "de"] == texts["German", "de"] != texts["{language}", "fr"]


def test_a_packed_model_decodes_a_dump_as_its_experiment_does(
    exp_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(exp_dir, device="cpu").save_pretrained(tmp_path / "packed", dtype="float32")
    dump = ["--data", str(exp_dir), "--dump", str(tmp_path / "dump")]
    assert main(["dump", "--config", str(tmp_path / "packed"), *dump, "data"]) == 0
    assert (tmp_path / "dump/log_mel_80/data/feats.scp").is_file()
    for name, model in (("packed", tmp_path / "packed"), ("exp", exp_dir)):
        command = ["decode", "--nj", "2", *dump, "--exp", str(tmp_path / f"out/{name}"), str(model), "data"]
        assert main([*command, "data_shuffled", "--set", "decode.batch_size=2 decode.search.num_beams=1"]) == 0
    texts = [read_table(tmp_path / f"out/{name}/decode/data/text", allow_empty=True) for name in ("packed", "exp")]
    assert texts[0] == texts[1] == decode(exp_dir, tmp_path / "out/jobs", "decode.search.num_beams=1")
    shuffled = read_table(tmp_path / "out/exp/decode/data_shuffled/text", allow_empty=True)
    assert shuffled.keys() == texts[0].keys() and shuffled != texts[0]
    assert "5 utterances" in capsys.readouterr().out
    scoring = ["score_sets", "--data", str(exp_dir), str(tmp_path / "out/exp"), "data", "data_shuffled"]
    assert main(scoring) == 0
    assert set(collect(tmp_path / "out/exp")) == {"data", "data_shuffled"}


def test_a_packed_model_reads_audio_and_makes_pseudo_labels_as_its_experiment_does(
    exp_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(exp_dir, device="cpu").save_pretrained(tmp_path / "packed", dtype="float32")
    assert main(["subset", str(exp_dir / "data"), str(tmp_path / "data"), "--max_duration", "3"]) == 0
    texts, search = {}, "decode.search.num_beams=1"
    for name, model in (("packed", tmp_path / "packed"), ("exp", exp_dir)):
        command = ["decode", "--data", str(tmp_path), "--exp", str(tmp_path / f"out/{name}"), str(model), "data"]
        assert main([*command, "--set", f"data.dump=none {search}"]) == 0
        texts[name] = read_table(tmp_path / f"out/{name}/decode/data/text", allow_empty=True)
    assert texts["packed"] == texts["exp"]
    assert len(set(texts["exp"].values())) > 1
    assert main(["decode", str(tmp_path / "packed"), "data", "--set", "data.dump=encoder"]) == 1
    assert "decoder.tokenizer, data.dump=none" in capsys.readouterr().err
    (tmp_path / "data/text").unlink()
    for model in (tmp_path / "packed", exp_dir):
        out = tmp_path / f"labelled_{model.name}"
        assert main(["pseudo_label", str(tmp_path / "data"), str(out), "--model", str(model), "--set", search]) == 1
        assert read_table(tmp_path / f"{out.name}_decode/text") == texts["exp"]
        assert "found no usable utterance (truncated 4)" in capsys.readouterr().err


def test_a_dump_of_another_frontend_is_refused(exp_dir: Path, tmp_path: Path) -> None:
    config = experiment.load_config(exp_dir / "config.yaml", ["data.dump=encoder"])
    with pytest.raises(DataError, match="the dump differs from the frontend of the encoder"):
        run.decode(exp_dir, config, [dumped(exp_dir, tmp_path)], nj=1, job=1)


def test_what_was_trained_cannot_be_overridden(exp_dir: Path) -> None:
    same = experiment.read_experiment(exp_dir, overrides=["prompt.template=hear <speech> say", "decode.batch_size=3"])
    assert same.decode.batch_size == 3
    with pytest.raises(ConfigError, match="trained with another prompt than that of the overrides"):
        experiment.read_experiment(exp_dir, overrides=["prompt.template=plain"])
    with pytest.raises(ConfigError, match="trained with another data section"):
        experiment.read_experiment(exp_dir, overrides=["data.transcript=lower"])


def test_a_connector_of_the_same_options_is_another_one(exp_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"base: {exp_dir / 'config.yaml'}\nconnector: {{type: qformer}}\n")
    with pytest.raises(ConfigError, match="trained with another connector than that of the overrides"):
        experiment.read_experiment(tmp_path, overrides=["connector.type=segment_qformer"])


def test_another_base_model_is_refused(exp_dir: Path, tmp_path: Path, tiny_llm: Path) -> None:
    other = tmp_path / "llm"
    decoder = experiment.read_experiment(exp_dir).decoder.build()
    with torch.no_grad():
        decoder.model.lm_head.weight += 1
    decoder.model.save_pretrained(other)
    decoder.tokenizer.save_pretrained(other)
    config = experiment.read_experiment(exp_dir, overrides=[f"decoder.path={other}"])
    with pytest.raises(ConfigError, match="trained with another decoder"):
        run.decode(exp_dir, config, [dumped(exp_dir, tmp_path / "out")], nj=1, job=1)


def test_an_untrained_experiment_is_a_sentence(exp_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.yaml, expected a trained experiment"):
        experiment.read_experiment(tmp_path)
    config = experiment.read_experiment(exp_dir)
    with pytest.raises(ConfigError, match="expected trained weights"):
        run.decode(tmp_path, config, [dumped(exp_dir, tmp_path / "out")], nj=1, job=1)


def test_mel_bins_must_fit_the_encoder(exp_dir: Path) -> None:
    config = experiment.load_config(exp_dir / "config.yaml", ["frontend.num_mels=128"])
    with pytest.raises(ConfigError, match=r"found 128 features per frame.*expects 80; use .type: log_mel"):
        build(config, torch.float32)


def test_batches_are_as_large_as_the_limit_of_tokens_allows(exp_dir: Path) -> None:
    config = experiment.read_experiment(exp_dir)
    model = build(config, torch.float32).model
    durations = {f"u{i:02d}": 0.5 + i / 8 for i in range(30)}
    num_frames = {utt_id: round(100 * duration) for utt_id, duration in durations.items()}
    tokens = largest_tokens(durations, num_frames, {}, model, config.decode)
    prompt = sum(map(len, model.prompt.parts("u08", None)))
    assert tokens["u08"] == 2 * (prompt + 8 + 7)  # beams, 75 states by 10, 1.5 s at 2 tokens a second and 4 more
    for limit in (100, 300, 700, 10000):
        decoding = replace(config.decode, batch_tokens=limit)
        batches = decoding_batches(durations, num_frames, {}, model, decoding, lambda duration: duration)
        assert [one for batch in batches for one in batch] == sorted(durations, reverse=True)
        assert all(len(batch) == 1 or len(batch) * tokens[batch[0]] <= limit for batch in batches)
        assert sum(tokens.values()) / len(batches) > limit / 3 or len(batches) in (1, 30)

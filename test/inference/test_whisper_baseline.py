"""The language passed to Whisper's own decoder, and its record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers
import yaml

from speechllm.bin import main
from speechllm.data.kaldi.data_dir import Utterance, write_data_dir, write_language
from speechllm.errors import ConfigError
from speechllm.inference import run
from speechllm.inference.run import SetToDecode, baseline
from speechllm.inference.whisper_baseline import SAMPLE_RATE, WhisperBaseline

CPU = torch.device("cpu")
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|fr|>", "<|transcribe|>", "<|notimestamps|>"]


def save_whisper(path: Path, *, multilingual: bool) -> Path:
    """Save a Whisper with random weights, its tokenizer of single characters, and three languages."""
    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate([*"abcdefgh", *SPECIAL])}
    tokenizer = transformers.WhisperTokenizer(vocab=vocabulary, merges=[], unk_token="<|endoftext|>")
    transformers.WhisperProcessor(transformers.WhisperFeatureExtractor(), tokenizer).save_pretrained(path)
    end, start = vocabulary["<|endoftext|>"], vocabulary["<|startoftranscript|>"]
    config = transformers.WhisperConfig(
        begin_suppress_tokens=None,
        **{"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": len(vocabulary)},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16},
        **{"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start},
    )
    model = transformers.WhisperForConditionalGeneration(config)
    options: dict[str, Any] = {"is_multilingual": multilingual, "max_length": 10}
    if multilingual:
        options["lang_to_id"] = {token: vocabulary[token] for token in SPECIAL[2:5]}
        options["task_to_id"] = {"transcribe": vocabulary["<|transcribe|>"]}
    options["no_timestamps_token_id"] = vocabulary["<|notimestamps|>"]
    model.save_pretrained(path)
    saved = json.loads((path / "generation_config.json").read_text())
    del saved["_from_model_config"]  # with it, transformers makes its own from the model instead
    (path / "generation_config.json").write_text(json.dumps({**saved, **options}))
    return path


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper") / "tiny", multilingual=True)


def languages_of(whisper: WhisperBaseline, monkeypatch: pytest.MonkeyPatch, batch: list[np.ndarray]) -> list[str]:
    """Return the languages that the decoder is given for a batch."""
    given: list[str] = []
    generate = whisper.model.generate

    def spy(**options: Any) -> torch.Tensor:
        given.extend(options.get("language", []))
        return generate(**options)

    monkeypatch.setattr(whisper.model, "generate", spy)
    whisper.transcribe(batch)
    return given


def noise(number: int, seconds: float = 1) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.normal(0, 0.1, int(SAMPLE_RATE * seconds)).astype(np.float32) for _ in range(number)]


@pytest.mark.parametrize("language", ["de", "german", "DE", "de-AT"])
def test_the_language_that_is_given(multilingual: Path, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whisper = WhisperBaseline(str(multilingual), CPU, language=language)
    assert languages_of(whisper, monkeypatch, noise(2)) == ["<|de|>", "<|de|>"]
    assert whisper.describe_language() == "de (given)"
    assert not whisper.detected


def test_without_a_language_each_utterance_has_the_detected_one(
    multilingual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = WhisperBaseline(str(multilingual), CPU)
    ids = whisper.model.generation_config.lang_to_id
    detected = iter([ids["<|fr|>"], ids["<|de|>"]])
    monkeypatch.setattr(
        whisper.model, "detect_language", lambda feats_BFT: torch.tensor([next(detected) for _ in feats_BFT])
    )
    assert languages_of(whisper, monkeypatch, noise(2)) == ["<|fr|>", "<|de|>"]
    assert whisper.detected == {"fr": 1, "de": 1}
    assert whisper.describe_language() == "detected for each utterance"


def test_languages_that_the_model_does_not_have(multilingual: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found language 'xx', expected one of de, en, fr"):
        WhisperBaseline(str(multilingual), CPU, language="xx")
    english = save_whisper(tmp_path / "english", multilingual=False)
    with pytest.raises(ConfigError, match=r"is an English-only Whisper, found language 'de'"):
        WhisperBaseline(str(english), CPU, language="de")
    assert WhisperBaseline(str(english), CPU, language="en").describe_language() == "en (English-only model)"


def test_one_model_decodes_sets_of_several_languages(
    multilingual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    monkeypatch.setattr(run, "WhisperBaseline", lambda *args, **options: loads.append(args) or WhisperBaseline(*args))
    soundfile.write(tmp_path / "a.wav", noise(1)[0], SAMPLE_RATE)
    sets = []
    for language in ("de", "fr", None):
        data_dir = tmp_path / f"data/{language}"
        write_data_dir(data_dir, [Utterance(utt_id="a", speaker="a", path=tmp_path / "a.wav", duration=1.0, text="X")])
        write_language(data_dir, language)
        sets.append(SetToDecode(source=data_dir, out_dir=tmp_path / f"decode/{language}"))

    def found(language: str | None) -> list[str]:
        baseline(str(multilingual), sets, nj=1, job=None, language=language)
        return [yaml.safe_load((one.out_dir / "run.yaml").read_text())["language"] for one in sets]

    assert found(None) == ["de (given)", "fr (given)", "detected for each utterance"]
    assert len(loads) == 1
    assert found("en") == ["en (given)"] * 3


def test_the_record_of_the_decoding_states_the_language(multilingual: Path, tmp_path: Path) -> None:
    data, exp_dir = tmp_path / "data/toy", tmp_path / "exp/mine"
    data.mkdir(parents=True)
    for name, samples_N in zip("ab", noise(2), strict=True):
        soundfile.write(tmp_path / f"{name}.wav", samples_N, SAMPLE_RATE)
    (data / "wav.scp").write_text("".join(f"{name} {tmp_path / name}.wav\n" for name in "ab"))
    (data / "utt2spk").write_text("a a\nb b\n")
    (data / "utt2dur").write_text("a 1.0\nb 1.0\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"frontend: {{type: log_mel}}\nencoder: {{type: whisper, path: {multilingual}}}\n"
        "connector: {type: fc}\ndecoder: {type: causal_lm, path: none}\n"
    )
    command = ["baseline", "--config", str(config), "--nj", "2", "--data", str(data.parent)]
    for options in (["--job", "1"], ["--job", "2"], []):
        assert main([*command, *options, str(exp_dir), "toy", "toy_shuffled"]) == 0
    assert (exp_dir / "baseline").resolve() == tmp_path / "exp" / multilingual.name
    assert [path.name for path in (exp_dir / "baseline/decode").iterdir()] == ["toy"]
    record = yaml.safe_load((exp_dir / "baseline/decode/toy/run.yaml").read_text())
    assert record["language"] == "detected for each utterance"
    assert sum(record["detected"].values()) == 2
    assert {"command", "date", "git", "versions", "model"} <= record.keys()


def test_token_scores_change_no_text_and_are_log_probabilities(multilingual: Path) -> None:
    plain = WhisperBaseline(str(multilingual), CPU, language="de").transcribe(noise(3))
    scored = WhisperBaseline(str(multilingual), CPU, language="de", token_scores=True).transcribe(noise(3))
    assert [(one.text, one.num_tokens, one.truncated) for one in scored] == [
        (one.text, one.num_tokens, one.truncated) for one in plain
    ]
    assert all(len(one.tokens) == one.num_tokens > 0 for one in scored)
    assert all(-20 < score <= 0 for one in scored for _, score in one.tokens)
    assert ["".join(token for token, _ in one.tokens) for one in scored] == [one.text for one in plain]

"""A trained toy model used by its public interface: loaded, run, packed, moved, and run again."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import soundfile
import torch

from speechllm import Model, api, experiment, load
from speechllm.bin import main
from speechllm.build import build
from speechllm.errors import ConfigError, DataError
from speechllm.inference.transcript import Transcript
from speechllm.models.weights import save_weights
from speechllm.pretrained.directory import _find_base, read_model

YAML = """
frontend: {{type: log_mel}}
encoder: {{type: whisper, path: {whisper}, padding: none}}
connector: {{type: fc, stack: 10, hidden: 32}}
decoder: {{type: causal_lm, path: {llm}, lora: {{rank: 2, dropout: 0}}}}
prompt: {{template: "hear <speech> say"}}
data: {{max_duration: 4, batch_duration: 8}}
decode: {{tokens_per_second: 2, extra_tokens: 4}}
"""
RATE = 16000


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory: pytest.TempPathFactory, tiny_whisper: Path, tiny_llm: Path) -> Path:
    """Return a scored experiment in a recipe's folder, with its base models in a sibling folder."""
    recipe = tmp_path_factory.mktemp("recipe")
    for name, path in (("whisper", tiny_whisper), ("llm", tiny_llm)):
        shutil.copytree(path, recipe / "models" / name)
    exp = recipe / "exp" / "toy"
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text(YAML.format(whisper=recipe / "models/whisper", llm=recipe / "models/llm"))
    write_random_weights(exp)
    (exp / "config.yaml").write_text(YAML.format(whisper="models/whisper", llm="models/llm"))
    command = "speechllm train --train dump/x/here dump/x/there --valid dump/x/v exp/toy"
    (exp / "run.yaml").write_text(f"command: {command}\n")
    for name in ("ref", "hyp"):
        (exp / name).write_text("a-1 SOME WORDS\na-2 OTHERS\n")
    assert main(["score", str(exp / "ref"), str(exp / "hyp"), str(exp / "decode/clean/score")]) == 0
    return exp


def write_random_weights(exp: Path, scale: float = 1.0) -> None:
    built = build(experiment.load_config(exp / "config.yaml"), torch.float32)
    torch.manual_seed(1)
    state = {name: scale * torch.randn_like(p) for name, p in built.model.named_parameters() if p.requires_grad}
    save_weights(exp / "model.safetensors", state, {"bases": built.bases, "steps": [7]})


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return files of noise by their kind."""
    folder = tmp_path_factory.mktemp("audio")
    found = {}
    kinds = [("short.wav", 1.3, RATE, 1), ("stereo.flac", 2.0, 44100, 2), ("long.ogg", 11.0, RATE, 1)]
    for number, (name, seconds, rate, channels) in enumerate([*kinds, ("soft.wav", 0.8, 8000, 1)]):
        samples = np.random.default_rng(number).uniform(-0.3, 0.3, (round(seconds * rate), channels))
        found[name] = folder / name
        soundfile.write(found[name], samples, rate)
    return found


@pytest.fixture(scope="module")
def model(exp_dir: Path) -> Model:
    return load(exp_dir)


def test_one_recording_several_and_an_iterator(model: Model, audio: dict[str, Path]) -> None:
    one = model.transcribe(audio["short.wav"])
    assert isinstance(one, Transcript) and one.duration == pytest.approx(1.3)
    pieces = "".join(piece for piece, _ in one.segments[0].nbest[0].tokens)
    assert " ".join(pieces.split()) == one.text != ""
    samples, rate = soundfile.read(audio["short.wav"], dtype="float32")
    several = list(model.transcribe_all([(samples, rate), audio["long.ogg"]]))
    assert several[0].text == one.text
    assert several[1].duration == pytest.approx(11.0, abs=0.01)
    assert max(segment.end - segment.start for segment in several[1].segments) <= 4.0
    lazily = model.transcribe_all(iter([audio["short.wav"]]))
    assert next(lazily).text == one.text


def test_batches_change_no_text(model: Model, audio: dict[str, Path]) -> None:
    paths = list(audio.values())
    alone = [model.transcribe(path, batch_size=1).text for path in paths]
    assert len(set(alone)) > 1, "transcripts that are all alike would prove nothing"
    assert [one.text for one in model.transcribe_all(paths, batch_size=8)] == alone
    assert [one.text for one in model.transcribe_all(paths[::-1], batch_size=3)][::-1] == alone


def test_a_merged_model_says_the_same(exp_dir: Path, model: Model, audio: dict[str, Path]) -> None:
    merged = load(exp_dir, merge_lora=True, device="cpu")
    assert not any(".lora_" in name for name, _ in merged.speech_llm.named_parameters())
    for path in audio.values():
        assert merged.transcribe(path).text == model.transcribe(path).text
    with pytest.raises(ConfigError, match="merged"):
        merged.save_pretrained(exp_dir / "never")


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="8-bit layers need VNNI instructions")
def test_an_8_bit_model_transcribes_and_is_not_saved(exp_dir: Path, model: Model, audio: dict[str, Path]) -> None:
    quantized = load(exp_dir, quantize="int8", device="cpu")
    layers = [type(one).__name__ for one in quantized.speech_llm.modules()]
    assert layers.count("Int8Linear") == 2 * 6 + 2 * 7 + 1  # Whisper's two layers, Llama's two and its output layer
    one, same = (each.transcribe(audio["short.wav"]) for each in (quantized, model))
    assert one.duration == same.duration and len(one.segments) == len(same.segments)
    assert quantized.fingerprint() != model.fingerprint()
    with pytest.raises(ConfigError, match="merged"):
        quantized.save_pretrained(exp_dir / "never")


@pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="8-bit layers need VNNI instructions")
def test_the_base_model_of_a_connector_has_8_bit_layers(tmp_path: Path, tiny_whisper: Path, tiny_llm: Path) -> None:
    text = YAML.format(whisper=tiny_whisper, llm=tiny_llm)
    (tmp_path / "config.yaml").write_text(text.replace("type: fc, stack: 10, hidden: 32", "type: whisper_ctc"))
    write_random_weights(tmp_path, scale=0.05)
    connector, precise = (
        load(tmp_path, merge_lora=True, quantize=quantize, device="cpu").speech_llm.connector
        for quantize in ("int8", None)
    )
    for decoder in (connector.base_model, connector.second_pass):
        layers = [type(one).__name__ for one in decoder.modules()]
        assert layers.count("Int8Linear") == 2 * 10 and "Linear" not in layers  # two layers of Whisper's decoder
    states_BLD, lens_B = torch.randn(1, 40, 64), torch.tensor([40])
    with torch.inference_mode():
        found, expected = (one._score(states_BLD, lens_B).hidden_BMH for one in (connector, precise))
    assert (found - expected).norm() < 0.04 * expected.norm()  # measured: 0.012


def test_8_bit_layers_are_for_float32_on_the_cpu(exp_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"quantize: found device cpu and decode\.dtype bfloat16"):
        load(exp_dir, quantize="int8", device="cpu", overrides=["decode.dtype=bfloat16"])
    with pytest.raises(ConfigError, match="quantize: found 'int4', expected int8"):
        load(exp_dir, quantize="int4", device="cpu")  # type: ignore[arg-type]


def test_packed_it_works_where_nothing_else_is(
    model: Model, audio: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path / "packed", dtype="float32", notes="Trained on noise.")
    moved = (tmp_path / "packed").rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    packed = load("elsewhere")
    assert Path(packed.config.encoder.path).resolve() == moved / "encoder"
    same = list(packed.transcribe_all(audio.values())) == list(model.transcribe_all(audio.values()))
    assert same, "not the same to the last bit of each log-probability"
    card = (moved / "README.md").read_text()
    assert "Trained on noise." in card and "|clean|2|3|0.0|" in card and "here, there" in card
    packed.save_pretrained("again")
    assert load("again").about == packed.about
    assert not list(moved.rglob("*.bin")) + list(moved.rglob("*.pt"))


def test_base_models_by_name(
    model: Model, exp_dir: Path, audio: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path / "named", encoder="whisper", decoder="llm")
    assert not (tmp_path / "named/encoder").exists()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # the hub has no "whisper", either
    with pytest.raises(ConfigError, match="encoder.path"):
        load(tmp_path / "named")
    monkeypatch.setenv("SPEECHLLM_MODELS", str(exp_dir.parents[1] / "models"))
    text = load(tmp_path / "named").transcribe(audio["short.wav"]).text
    assert text == model.transcribe(audio["short.wav"]).text


def test_a_model_directly_below_the_root_may_name_a_hub_id() -> None:
    assert _find_base("some/hub-id", Path("/model")) == "some/hub-id"


def test_another_base_model_is_refused(exp_dir: Path, tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperModel

    whisper = exp_dir.parents[1] / "models/whisper"
    torch.manual_seed(5)
    WhisperModel(WhisperConfig.from_pretrained(whisper)).save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigError, match="another encoder"):
        load(exp_dir, overrides=[f"encoder.path={tmp_path / 'other'}"])


def test_overrides_are_of_search_and_prompt(exp_dir: Path, audio: dict[str, Path]) -> None:
    beams = load(exp_dir, overrides=["decode.search.num_beams=3", "decode.search.nbest=3"])
    nbest = beams.transcribe(audio["short.wav"]).segments[0].nbest
    assert len(nbest) == 3
    asked = load(exp_dir, overrides=["prompt.template='say <speech> hear'"])
    assert asked.config.prompt.template == "say <speech> hear"
    with pytest.raises(ConfigError, match="cannot change after training"):
        load(exp_dir, overrides=["connector.hidden=64"])


def test_a_context_is_read_by_prompts_with_a_place_for_it(
    exp_dir: Path, model: Model, audio: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="the prompt of the model has no place for it"):
        model.transcribe(audio["short.wav"], context="fox")
    override = "prompt.context='words: {context} '"
    asked = load(exp_dir, overrides=[override])
    log_probs = {
        context: asked.transcribe(audio["short.wav"], context=context).segments[0].nbest[0].tokens
        for context in ("", "the quick brown fox")
    }
    assert log_probs[""] == model.transcribe(audio["short.wav"]).segments[0].nbest[0].tokens
    assert log_probs["the quick brown fox"] != log_probs[""]
    assert asked.fingerprint() != asked.fingerprint(context="fox")
    (tmp_path / "words").write_text("the quick\n\nbrown fox\n")
    command = ["transcribe", "--model", str(exp_dir), "--device", "cpu", "--set", override, str(audio["short.wav"])]
    printed = []
    for option in (["--context_file", str(tmp_path / "words")], ["--context", "the quick, brown fox"]):
        assert main([*command, "--format", "json", *option]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert main([*command, "--context_file", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_errors_are_sentences(exp_dir: Path, model: Model, tmp_path: Path) -> None:
    for name in ("no/such/model/here", "nothing", tmp_path):
        with pytest.raises(ConfigError, match="no such directory|found no"):
            load(name)
    with pytest.raises(DataError, match="no such audio"):
        model.transcribe(tmp_path / "none.wav")
    with pytest.raises(ConfigError, match="batch_size"):
        model.transcribe("x.wav", batch_size=0)
    (tmp_path / "config.json").write_text("{}")
    shutil.copy(exp_dir / "model.safetensors", tmp_path)
    with pytest.raises(ConfigError, match="found no section connector"):
        load(tmp_path)


@pytest.mark.parametrize("device", ["tpu9", "meta", "cuda:x", "xpu:3", ""])
def test_a_device_that_is_none_is_an_error_before_loading(
    exp_dir: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(api, "load_model", lambda *args: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=f"device: found '{device}', expected auto, cpu, cuda"):
        load(exp_dir, device=device)


def test_max_window_is_part_of_the_fingerprint(model: Model) -> None:
    assert model.fingerprint() == model.fingerprint(model.max_window) != model.fingerprint(2.0)


def test_options_that_would_hang_are_errors(model: Model, audio: dict[str, Path]) -> None:
    for options in (
        {"max_window": 0.0001},
        {"max_window": float("nan")},
        {"max_window": float("inf")},
        {"batch_size": -1},
    ):
        with pytest.raises(ConfigError, match="expected"):
            model.transcribe(audio["short.wav"], **options)  # type: ignore[arg-type]


def test_nothing_is_unpickled(exp_dir: Path, tmp_path: Path) -> None:
    """A pickle in place of the weights file is an error and is not loaded."""
    broken = shutil.copytree(exp_dir, tmp_path / "exp" / "pickled")
    torch.save({"os": Path}, broken / "model.safetensors")
    with pytest.raises(Exception, match="(?i)header|safetensors"):
        load(
            broken,
            overrides=[
                f"{part}.path={exp_dir.parents[1] / 'models' / name}"
                for part, name in (("encoder", "whisper"), ("decoder", "llm"))
            ],
        )


@pytest.mark.parametrize("form", ["packed", "experiment", "based"])
def test_code_that_a_model_brings_is_run_only_if_asked_for(
    form: str, exp_dir: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "received"
    if form == "packed":
        model.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        config["connector"]["type"] = "weights_of_it.loader"
        (folder / "config.json").write_text(json.dumps(config))
    else:
        shutil.copytree(exp_dir, folder)
        models = exp_dir.parents[1] / "models"
        text = YAML.format(whisper=models / "whisper", llm=models / "llm").replace(
            "type: fc", "type: weights_of_it.loader"
        )
        name = "config.yaml" if form == "experiment" else "other.yaml"
        (folder / "config.yaml").write_text("base: other.yaml\n")
        (folder / name).write_text(text)
    (folder / "weights_of_it").mkdir()
    mark = tmp_path / "was_run"
    code = f"open({str(mark)!r}, 'w').close()\nfrom speechllm.connectors.fc import *\n"
    (folder / "weights_of_it/loader.py").write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ConfigError, match="'weights_of_it.loader': found a module outside .*trust_components=True"):
        load(".")
    (tmp_path / "x.wav").write_bytes(audio_bytes())
    for verb in (
        ["info", "."],
        ["transcribe", "--model", ".", "../x.wav"],
        ["pack", ".", "x"],
        ["decode", ".", "x"],
    ):
        assert main(verb) == 1
    assert main(["fetch_models", "--config", "."]) == 1
    assert main(["dump", "--config", ".", "x"]) == 1
    assert not mark.exists()
    assert isinstance(load(".", device="cpu", trust_components=True).transcribe("../x.wav"), Transcript)
    assert mark.exists()
    assert main(["info", ".", "--trust_components"]) == 0
    for name in ("weights_of_it.loader", "weights_of_it"):
        sys.modules.pop(name, None)


def audio_bytes() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(RATE), RATE, format="WAV")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["tpu9", "", "cpu:x", "xpu"])
def test_an_unknown_device_is_a_sentence(
    name: str, exp_dir: Path, audio: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", "--model", str(exp_dir), "--device", name, str(audio["short.wav"])]) == 1
    said = capsys.readouterr().err
    assert f"device: found {name!r}, expected auto, cpu, cuda" in said
    assert said.count("\n") == 1


def test_info_tells_what_it_is(exp_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(exp_dir)]) == 0
    printed = capsys.readouterr().out
    for word in ("whisper", "fc (stack 10", "hear <speech> say", "here, there", "|clean|", "of the connector"):
        assert word in printed
    assert read_model(exp_dir).about["scores"]["clean"]["wer"] == 0.0


def test_transcribe_prints_and_writes(
    exp_dir: Path, model: Model, audio: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transcribe", "--model", str(exp_dir), "--device", "cpu"]
    assert main([*command, str(audio["short.wav"])]) == 0
    assert capsys.readouterr().out == f"{model.transcribe(audio['short.wav']).text}\n"
    folder = audio["short.wav"].parent
    assert main([*command, str(folder), "--out", str(tmp_path / "out"), "--format", "json"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "long.json",
        "short.json",
        "soft.json",
        "stereo.json",
    ]
    assert json.loads((tmp_path / "out/long.json").read_text())["segments"][-1]["end"] == pytest.approx(11.0, abs=0.01)


def test_a_folder_goes_on_and_bad_files_are_left_out(
    exp_dir: Path, audio: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    (inputs / "sub").mkdir(parents=True)
    shutil.copy(audio["short.wav"], inputs / "sub/a.wav")
    (inputs / "b.wav").write_text("no audio")
    command = ["transcribe", "--model", str(exp_dir), "--out", str(out), str(inputs)]
    assert main(command) == 3
    assert "b.wav" in capsys.readouterr().err and (out / "sub/a.txt").exists() and not (out / "b.txt").exists()
    (out / "sub/a.txt").write_text("done before")
    shutil.copy(audio["soft.wav"], inputs / "b.wav")
    assert main(command) == 0
    assert (out / "sub/a.txt").read_text() == "done before" and (out / "b.txt").exists()
    assert main([*command, "--set", "decode.search.num_beams=2"]) == 1
    assert "another --out" in capsys.readouterr().err


def test_standard_input(exp_dir: Path, model: Model, audio: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "speechllm", "transcribe", "--model", str(exp_dir), "--device", "cpu", "-"]
    with audio["stereo.flac"].open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, check=True)
    assert done.stdout == f"{model.transcribe(audio['stereo.flac']).text}\n"


def test_what_would_collide_is_refused(
    exp_dir: Path, audio: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.wav").write_bytes(audio["short.wav"].read_bytes())
    both = [str(audio["short.wav"]), str(tmp_path / "short.wav")]
    assert main(["transcribe", "--model", str(exp_dir), *both, "--out", str(tmp_path / "out")]) == 1
    assert "both" in capsys.readouterr().err


def test_import_brings_no_torch() -> None:
    code = "import sys, speechllm; speechllm.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_language_is_named_in_prompts_with_a_place_for_it(
    exp_dir: Path, model: Model, audio: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = audio["short.wav"]
    with pytest.raises(ConfigError, match="found 'de', but the prompt of the model has no place for a language"):
        model.transcribe(short, language="de")
    asked, german = (
        load(exp_dir, overrides=[f"prompt.template='hear {name} <speech> say'"]) for name in ("{language}", "German")
    )
    expected = german.transcribe(short).segments[0].nbest
    for language in ("de", "German", "de-AT"):
        assert asked.transcribe(short, language=language).segments[0].nbest == expected
    assert asked.transcribe(short, language="fr").segments[0].nbest != expected
    assert asked.fingerprint(language="de") != asked.fingerprint(language="fr")
    with pytest.raises(ConfigError, match="language: found none, but .* has a place for a language"):
        asked.transcribe(short)
    with pytest.raises(ConfigError, match="found the language 'xx', expected one of Whisper's codes"):
        asked.transcribe(short, language="xx")
    command = ["transcribe", "--model", str(exp_dir), "--device", "cpu", "--format", "json", str(short)]
    printed = []
    for option in (["{language}", "--language", "de"], ["German"]):
        assert main([*command, "--set", f"prompt.template='hear {option[0]} <speech> say'", *option[1:]]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]

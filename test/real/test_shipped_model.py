"""Shipped models: small, safe, portable, and able to recognise unseen speakers."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from speechllm import load
from speechllm.bin import main
from speechllm.data.audio.read import read_audio
from speechllm.data.derive.non_speech import SAMPLE_RATE as RATE
from speechllm.data.derive.non_speech import brown, hum, pink
from speechllm.pretrained.directory import BASES, DEFAULT, SHIPPED, read_model, shipped
from speechllm.score.normalize import normalizer
from speechllm.score.wer import count, score

RECORDINGS = Path("/usr/share/pocketsphinx/test/data/librivox")
MAX_MEGABYTES = 26  # weights of about 20, and the tokenizer
needs_bases = pytest.mark.skipif(
    not all((BASES / name).is_dir() for name in ("whisper-base.en", "smollm2-135m-instruct")),
    reason="needs tools/offline_models/fetch_models.py whisper-base.en smollm2-135m-instruct",
)


def test_a_model_ships() -> None:
    assert shipped()


@pytest.mark.parametrize("name", shipped())
def test_what_ships_is_small_safe_and_of_no_machine(name: str) -> None:
    files = [path for path in (SHIPPED / name).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".jinja"}
    assert sum(path.stat().st_size for path in files) < MAX_MEGABYTES * 1e6
    for path in files:
        if path.suffix != ".safetensors":
            assert not re.search(r"/(work|home|root|tmp)/", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("name", shipped())
def test_the_card_says_what_a_user_must_know(name: str) -> None:
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---")[1])["pipeline_tag"] == "automatic-speech-recognition"
    for word in ("LibriSpeech", "CC BY 4.0", "Apache-2.0", "MIT", "interval", "_shuffled", "Limits"):
        assert word in card, word
    scores = read_model(name).about["scores"]
    assert scores["test_clean"]["wer"] < scores["test_other"]["wer"] < scores["test_other_shuffled"]["wer"]


@needs_bases
def test_the_default_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert DEFAULT in capsys.readouterr().out.split()
    assert main(["info", DEFAULT]) == 0
    printed = capsys.readouterr().out
    for word in ("whisper-base.en", "smollm2-135m-instruct", "ctc (", "prompt", "test_other"):
        assert word in printed, word
    assert "not on this machine" not in printed


@pytest.mark.slow
@needs_bases
@pytest.mark.parametrize("noise", [pink, brown, hum])
def test_the_default_writes_nothing_in_noise(noise: Callable[[int, np.random.Generator], np.ndarray]) -> None:
    noise_N = noise(10 * RATE, np.random.default_rng(7))
    result = load().transcribe((0.02 * noise_N / np.std(noise_N), RATE))
    assert (result.text, result.segments[0].warnings) == ("", ["empty"])


@pytest.mark.slow
@needs_bases
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="needs Debian's pocketsphinx-testdata")
def test_the_default_transcribes_unseen_speakers() -> None:
    reference = {}
    for line in (RECORDINGS / "transcription").read_text().splitlines():
        text, name = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip()).groups()
        reference[name] = text
    model = load(merge_lora=True)
    paths = [RECORDINGS / f"{name}.wav" for name in reference]
    alone = [model.transcribe(path).text for path in paths]
    assert [result.text for result in model.transcribe_all(paths, batch_size=8)] == alone
    counts = count(score(reference, dict(zip(reference, alone, strict=True)), normalizer("librispeech")))
    assert counts.words == 71
    assert counts.errors <= 8  # measured: 4


@pytest.mark.slow
@needs_bases
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="needs Debian's pocketsphinx-testdata")
def test_words_have_times_within_known_speech() -> None:
    """Five utterances with two seconds of silence between; a stacked state is 80 ms."""
    paths = sorted(RECORDINGS.glob("*.wav"))
    parts = [read_audio(path, RATE) for path in paths]
    silence_N = np.zeros(2 * RATE, np.float32)
    samples_N = np.concatenate([one for part in parts for one in (part, silence_N)])
    result = load(overrides=["decode.word_times=true", "decode.search.num_beams=1"]).transcribe((samples_N, RATE))
    assert len(result.segments) > 1
    words = [word for segment in result.segments for word in segment.words]
    assert " ".join(word.word for word in words) == result.text and not any(word.start is None for word in words)
    begin = 0.0
    for part in parts:
        end = begin + len(part) / RATE
        mine = [word for word in words if begin - 0.1 <= (word.start + word.end) / 2 <= end + 0.1]
        loud = np.flatnonzero(np.abs(part) > 0.1 * np.abs(part).max()) / RATE + begin
        assert mine[0].start == pytest.approx(loud[0], abs=0.2)  # measured: 0.10 at most
        assert mine[-1].end == pytest.approx(loud[-1], abs=0.25)  # measured: 0.17 at most
        words = words[len(mine) :]
        begin = end + 2
    assert not words
    assert result.segments[0].words[0].confidence > 0.5

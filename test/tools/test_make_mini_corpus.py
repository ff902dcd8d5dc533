import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import make_mini_corpus
import numpy as np
import pytest
import soundfile
from make_mini_corpus import UNSEEN, WITH_FLITE, WITHOUT_FLITE, plan, recorded, resample, trimmed, written

COUNTS = {"train-mini": 100, "dev-mini": 20, "test-mini": 40}


class Hum:
    """A voice that hums for as long as the text is, between half a second of silence on either side."""

    sample_rate = 24_000

    def __init__(self, name: str, seed: int) -> None:
        self.seed = seed

    def __call__(self, text: str, speed: float) -> np.ndarray:
        seconds = len(text) / 20 / speed
        hum_N = 0.1 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * self.sample_rate)) / self.sample_rate)
        return np.pad(hum_N, self.sample_rate // 2)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return OUT/LibriSpeech, hummed."""
    monkeypatch.setattr(make_mini_corpus, "load", Hum)
    monkeypatch.setattr(make_mini_corpus, "ProcessPoolExecutor", ThreadPoolExecutor)
    assert make_mini_corpus.main([str(tmp_path), "--train", "100", "--dev", "20", "--test", "40", "--jobs", "2"]) == 0
    return tmp_path / "LibriSpeech"


def transcripts(folder: Path) -> dict[str, str]:
    lines = [line for path in folder.rglob("*.trans.txt") for line in path.read_text().splitlines()]
    return dict(line.split(" ", 1) for line in lines)


def test_layout(corpus: Path) -> None:
    for subset, count in COUNTS.items():
        texts = transcripts(corpus / subset)
        audio = {path.stem: path for path in (corpus / subset).rglob("*.flac")}
        assert len(texts) == count and texts.keys() == audio.keys()
        for utt_id, path in audio.items():
            assert utt_id.split("-")[:2] == [path.parent.parent.name, path.parent.name]
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert info.duration > 0.2
    lines = (corpus / "SPEAKERS.TXT").read_text().splitlines()
    assert [line.split("|")[0].strip() for line in lines if not line.startswith(";")][-1] == "900"
    assert not list(corpus.parent.glob(".*")), "nothing half made is left"


def test_no_sentence_and_no_unseen_voice_is_in_two_sets(corpus: Path) -> None:
    texts = [text for subset in COUNTS for text in transcripts(corpus / subset).values()]
    assert len(set(texts)) == len(texts)
    unseen = [path.parts[-4] for path in corpus.rglob("900-*.flac")]
    assert unseen == ["test-mini"] * 20


def test_a_complete_corpus_is_left_alone(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert make_mini_corpus.main([str(corpus.parent)]) == 0
    assert "already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


def test_a_voice_that_fails_leaves_no_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dumb(name: str, seed: int) -> None:
        raise subprocess.CalledProcessError(1, "flite")

    monkeypatch.setattr(make_mini_corpus, "load", dumb)
    monkeypatch.setattr(make_mini_corpus, "ProcessPoolExecutor", ThreadPoolExecutor)
    with pytest.raises(subprocess.CalledProcessError):
        make_mini_corpus.main([str(tmp_path), "--train", "10", "--dev", "10", "--test", "20"])
    assert not (tmp_path / "LibriSpeech").exists()


@pytest.mark.parametrize("speakers", [WITH_FLITE, WITHOUT_FLITE], ids=["flite", "no flite"])
def test_speakers(speakers: list[make_mini_corpus.Speaker]) -> None:
    assert len({speaker.number for speaker in speakers}) == len(speakers)
    assert {speaker.sex for speaker in speakers} == {"F", "M"}
    assert UNSEEN.voice not in {speaker.voice for speaker in speakers}
    blocks = plan(speakers, COUNTS, seed=1)
    heard = {block.speaker for block in blocks if block.subset == "test-mini"}
    assert heard == {*speakers, UNSEEN}
    assert len({block.seed for block in blocks}) == len(blocks)


def test_resampling_keeps_a_tone() -> None:
    times_N = np.arange(24_000) / 24_000
    tone_N = np.sin(2 * np.pi * 440 * times_N)
    down_N = resample(tone_N, 16_000 / 24_000)
    np.testing.assert_allclose(down_N, np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000), atol=1e-9)


def test_a_raised_pitch_is_higher() -> None:
    tone_N = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000)
    raised_N = resample(tone_N, 1 / 1.25)
    spectrum = np.abs(np.fft.rfft(raised_N, 16_000))
    assert spectrum.argmax() == 500


def test_quiet_is_trimmed_or_filled_to_the_margin_and_the_level_varies() -> None:
    speech_N = np.pad(np.ones(8000), 16_000)
    np.testing.assert_array_equal(trimmed(speech_N), np.pad(np.ones(8000), 1600))
    np.testing.assert_array_equal(trimmed(np.ones(8000)), np.pad(np.ones(8000), 1600))
    peaks = [np.abs(recorded(speech_N, np.random.default_rng(seed))).max() for seed in range(20)]
    assert 0.15 < min(peaks) < max(peaks) < 0.85


def test_letters_are_written_apart() -> None:
    assert written("SPELL F X") == "Spell F, X."
    assert written("CALL MARY AND PETER MONDAY") == "Call mary and peter monday."


def test_hibari_says_the_same_again() -> None:
    pytest.importorskip("hibari")
    first_N, again_N = (make_mini_corpus.load("hibari", seed=3)("Open the door.", 1.0) for _ in range(2))
    np.testing.assert_array_equal(first_N, again_N)
    slow_N = make_mini_corpus.load("hibari", seed=3)("Open the door.", 0.5)
    assert len(slow_N) > 1.5 * len(first_N)

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import speak_corpus
import voices
from speak_corpus import Speaker, make, recorded, resample, share, trimmed, written

SPEAKERS = [Speaker(number=number, sex="F", voice="hum") for number in (1, 2, 3)]
TEXTS = [f"SENTENCE {i}" for i in range(200)]


def test_sentences_are_shared_out_evenly_and_ids_are_unlike() -> None:
    blocks = share("train-x", 1, SPEAKERS, TEXTS, seed=1) + share("test-x", 2, SPEAKERS, TEXTS, seed=1)
    assert sorted(text for block in blocks for text in block.texts) == sorted(TEXTS * 2)
    assert sum(len(block.texts) for block in blocks if block.speaker == SPEAKERS[0]) == 2 * 67
    ids = [utt_id for block in blocks for utt_id in block.utt_ids(Path())]
    assert len(set(ids)) == len(ids) == 400
    assert len({block.seed for block in blocks}) == len(blocks)


def test_a_speaker_is_listed_with_the_first_set(tmp_path: Path, humming: None) -> None:
    make(
        [*share("train-x", 1, SPEAKERS[:2], TEXTS[:4], 1), *share("test-x", 2, SPEAKERS, TEXTS[4:7], 1)],
        tmp_path / "x",
        1,
    )
    rows = (tmp_path / "x/SPEAKERS.TXT").read_text().splitlines()[1:]
    assert [row.split("|")[2].strip() for row in rows] == ["train-x", "train-x", "test-x"]


def test_a_voice_that_fails_leaves_no_corpus(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = []

    def dumb(name: str, seed: int) -> None:
        spoken.append(seed)
        if len(spoken) > 1:
            time.sleep(0.05)  # 25 seconds for all of them: time enough to give up
        raise subprocess.CalledProcessError(1, "flite")

    monkeypatch.setattr(speak_corpus, "load", dumb)
    with pytest.raises(subprocess.CalledProcessError):
        make(share("train-x", 1, SPEAKERS, TEXTS * 100, seed=1), tmp_path / "LibriSpeech", jobs=1)
    assert not (tmp_path / "LibriSpeech").exists()
    assert len(spoken) < 500, "what was still to be spoken is given up"


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
    first_N, again_N = (voices.load("hibari", seed=3)("Open the door.", 1.0) for _ in range(2))
    np.testing.assert_array_equal(first_N, again_N)
    slow_N = voices.load("hibari", seed=3)("Open the door.", 0.5)
    assert len(slow_N) > 1.5 * len(first_N)

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import speak_corpus
import voices
from speak_corpus import Speaker, make, recorded, resample, share, trimmed, written

from speechllm.errors import DataError
from speechllm.lock import LockedError, exclusive_lock

SPEAKERS = [Speaker(number=number, sex="F", voice="hum") for number in (1, 2, 3)]
TEXTS = [f"SENTENCE {i}" for i in range(200)]


def test_sentences_are_shared_out_evenly_and_ids_are_unlike() -> None:
    blocks = share("train-x", 1, SPEAKERS, TEXTS, seed=1) + share("test-x", 2, SPEAKERS, TEXTS, seed=1)
    assert sorted(text for block in blocks for text in block.texts) == sorted(TEXTS * 2)
    assert sum(len(block.texts) for block in blocks if block.speaker == SPEAKERS[0]) == 2 * 67
    ids = [utt_id for block in blocks for utt_id in block.utt_ids]
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
    assert len(spoken) < 500, "the remaining blocks are cancelled"


def test_an_interrupted_corpus_is_continued(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = share("train-x", 1, SPEAKERS, TEXTS[:12], seed=1, block=2)
    make(blocks, tmp_path / "whole", 1)
    load, loads = speak_corpus.load, []

    def failing(name: str, seed: int) -> voices.Voice:
        loads.append(seed)
        if len(loads) > 3:
            raise KeyboardInterrupt
        return load(name, seed)

    monkeypatch.setattr(speak_corpus, "load", failing)
    with pytest.raises(KeyboardInterrupt):
        make(blocks, tmp_path / "x", 1)
    partial = tmp_path / ".x.partial"
    done = sorted(str(path.relative_to(partial)) for path in partial.glob("*/*/*"))
    assert done == ["train-x/1/1000", "train-x/2/1000", "train-x/3/1000"], "all speakers come first"
    assert all(len(list((partial / folder).glob("*.flac"))) == 2 for folder in done)
    (partial / "train-x/1/.1001.77.tmp").mkdir()  # of a process that was killed

    with pytest.raises(
        DataError, match=r"unfinished corpus with other options, found plan \w{8}, expected \w{8}; repeat"
    ):
        make(blocks[1:], tmp_path / "x", 1)
    loads = []
    monkeypatch.setattr(speak_corpus, "load", lambda name, seed: loads.append(seed) or load(name, seed))
    make(blocks, tmp_path / "x", 1)
    assert len(loads) == 3, "three chapters were there"
    whole, continued = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "whole", tmp_path / "x")
    )
    assert whole == continued
    assert not partial.exists()


def test_two_processes_do_not_make_one_corpus(tmp_path: Path, humming: None) -> None:
    with (
        exclusive_lock(tmp_path / ".x.partial" / ".lock", "the test"),
        pytest.raises(LockedError, match=f"in use by process {os.getpid()}"),
    ):
        make(share("train-x", 1, SPEAKERS, TEXTS[:3], seed=1), tmp_path / "x", 1)


def test_printed_sentences_are_spoken_as_printed_and_transcribed_in_capitals(
    tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: list[str] = []
    monkeypatch.setattr(speak_corpus, "written", lambda text: spoken.append(written(text)) or written(text))
    make(share("train-x", 1, SPEAKERS[:1], ["Well, didn't he? I say."], seed=1), tmp_path / "x", 1)
    assert spoken == ["Well, didn't he? I say."]
    assert (tmp_path / "x/train-x/1/1000/1-1000.trans.txt").read_text() == "1-1000-0000 WELL DIDN'T HE I SAY\n"


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
    assert written("Spell it, Mary!") == "Spell it, Mary!"
    assert written("CALL MARY AND PETER MONDAY") == "Call mary and peter monday."


def test_hibari_says_the_same_again() -> None:
    pytest.importorskip("hibari")
    first_N, again_N = (voices.load("hibari", seed=3)("Open the door.", 1.0) for _ in range(2))
    np.testing.assert_array_equal(first_N, again_N)
    slow_N = voices.load("hibari", seed=3)("Open the door.", 0.5)
    assert len(slow_N) > 1.5 * len(first_N)

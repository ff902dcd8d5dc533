"""Speed perturbation: duration, pitch, and no repeated work."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.bin import main
from speechllm.data.audio.read import read_audio
from speechllm.data.derive.speed import perturb_speed
from speechllm.data.kaldi.data_dir import Utterance, read_data_dir, write_data_dir
from speechllm.errors import DataError


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    """Return a directory of one second of 440 Hz, the middle of a longer file."""
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(48000) / 16000), 16000)
    utt = Utterance(utt_id="a-1", speaker="a", path=path, start=1.0, end=2.0, duration=1.0, text="la", recording="r")
    write_data_dir(tmp_path / "data", [utt])
    return tmp_path / "data"


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_and_pitch(tone: Path, tmp_path: Path, factor: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["perturb_speed", str(tone), str(tmp_path / "copy"), "--factor", str(factor)]) == 0
    assert "1 utterances, 1 speakers" in capsys.readouterr().out
    (utt,) = read_data_dir(tmp_path / "copy").utts
    original = read_data_dir(tone).utts[0]
    assert utt == replace(
        original, utt_id=f"sp{factor}-a-1", speaker=f"sp{factor}-a", path=utt.path, start=0.0, end=None,
        duration=utt.duration, recording="",
    )  # fmt: skip
    assert utt.duration == pytest.approx(1 / factor, abs=1e-4)
    spectrum = np.abs(np.fft.rfft(read_audio(utt.path, 16000)))
    assert spectrum.argmax() / utt.duration == pytest.approx(440 * factor, abs=1)


def test_a_run_goes_on_and_is_made_once(make_set: Callable[..., Path], tmp_path: Path) -> None:
    data = make_set(0.2, 0.3, 0.4)
    assert perturb_speed(data, tmp_path / "copy", 1.1)
    audio = sorted((tmp_path / "copy_audio").glob("*.flac"))
    kept = audio[0].stat().st_mtime_ns
    assert len(audio) == 3 and not perturb_speed(data, tmp_path / "copy", 1.1)
    audio[1].unlink()
    shutil.rmtree(tmp_path / "copy")
    assert perturb_speed(data, tmp_path / "copy", 1.1)
    assert sorted((tmp_path / "copy_audio").glob("*.flac")) == audio and audio[0].stat().st_mtime_ns == kept


def test_audio_of_other_tables_is_not_taken(tone: Path, tmp_path: Path) -> None:
    perturb_speed(tone, tmp_path / "copy", 1.1)
    (utt,) = read_data_dir(tone).utts
    write_data_dir(tone, [replace(utt, start=1.5, duration=0.5)])
    assert perturb_speed(tone, f"{tmp_path}/copy/", 1.1)
    (copy,) = read_data_dir(tmp_path / "copy").utts
    assert soundfile.info(copy.path).duration == copy.duration == pytest.approx(0.5 / 1.1, abs=1e-4)


@pytest.mark.parametrize("factor", [1.0, 0.0, 3.0])
def test_what_is_no_speed_of_speech_is_refused(tone: Path, tmp_path: Path, factor: float) -> None:
    with pytest.raises(DataError, match=f"found the speed {factor}, expected 0.5 to 2.0 except 1"):
        perturb_speed(tone, tmp_path / "copy", factor)

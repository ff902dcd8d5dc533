"""Noise, reverberation and codecs: level, duration, reproducibility, and rejected options."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllm.bin import main
from speechllm.data.audio.read import read_audio
from speechllm.data.derive.augment import (
    CODECS,
    Augmentation,
    add_noise,
    augment,
    is_augmented,
    reverberate,
    through_codec,
)
from speechllm.data.kaldi.data_dir import Utterance, read_data_dir, write_data_dir
from speechllm.errors import DataError

RNG = np.random.default_rng(0)
TONES_N = 0.1 * (np.sin(np.arange(32000) * 0.1) + np.sin(np.arange(32000) * 2.2)).astype(np.float32)  # 255 and 5602 Hz


def level(samples_N: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples_N**2)))


def power(samples_N: np.ndarray, frequency: float) -> float:
    """Return the power at a frequency (Hz)."""
    turns_N = np.exp(-2j * np.pi * frequency / 16000 * np.arange(len(samples_N)))
    return float(np.abs(samples_N @ turns_N) ** 2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a directory of two utterances, one and two seconds of tones."""
    utts = []
    for i in (1, 2):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, TONES_N[: i * 16000], 16000)
        utts.append(Utterance(utt_id=f"a-{i}", speaker="a", path=path, duration=float(i), text="la"))
    write_data_dir(tmp_path / "data", utts)
    return tmp_path / "data"


@pytest.mark.parametrize("snr", [0.0, 15.0])
def test_noise_is_as_weak_as_it_is_said_to_be(snr: float) -> None:
    noise_N = add_noise(TONES_N, RNG.standard_normal(32000), snr) - TONES_N
    assert 20 * np.log10(level(TONES_N) / level(noise_N)) == pytest.approx(snr, abs=1e-3)


def test_reverberation_falls_by_60_db_in_its_time() -> None:
    click_N = np.zeros(32000)
    click_N[1000] = 1.0
    heard_N = reverberate(click_N, 0.5, RNG)
    assert np.abs(heard_N).argmax() == 1000
    early, late = (level(heard_N[1000 + at : 1400 + at]) for at in (400, 4400))
    assert 20 * np.log10(early / late) == pytest.approx(60 * 4000 / 8000, abs=3)
    assert level(heard_N) == pytest.approx(level(click_N), rel=1e-3)
    assert np.abs(heard_N[:1000]).max() < 1e-9


def delay(heard_N: np.ndarray, samples_N: np.ndarray) -> int:
    """Return the delay of the output (samples)."""
    size = 4 * len(samples_N)
    likeness = np.fft.irfft(np.fft.rfft(heard_N, size) * np.conj(np.fft.rfft(samples_N, size)), size)
    late = int(likeness.argmax())
    return late - size if late > size // 2 else late


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_delays_nothing(name: str) -> None:
    noise_N = np.convolve(RNG.standard_normal(32000), np.ones(16) / 16, "same")  # below the band of a telephone
    assert delay(through_codec(0.3 * noise_N, CODECS[name], 0.5), noise_N) == 0


def test_minutes_of_vorbis() -> None:
    assert len(through_codec(np.tile(TONES_N, 75), CODECS["vorbis"], 0.5)) == 75 * len(TONES_N)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("pressed", [0.0, 0.9])
def test_a_codec_keeps_the_length_and_a_telephone_its_band(name: str, pressed: float) -> None:
    heard_N = through_codec(TONES_N, CODECS[name], pressed)
    assert heard_N.shape == TONES_N.shape
    assert power(heard_N, 254.65) == pytest.approx(power(TONES_N, 254.65), rel=0.3)
    high = power(heard_N, 5602.25) / power(TONES_N, 5602.25)
    assert high < 0.01 if CODECS[name].sample_rate == 8000 else high > 0.3


def test_the_same_again_goes_on_and_another_seed_differs(data: Path, tmp_path: Path) -> None:
    everything = ["--snr", "5", "20", "--reverberation", "0.2", "0.4", "--codecs", "mp3", "gsm"]
    for name, more in (("one", []), ("same", []), ("other", ["--seed", "1"])):
        assert main(["augment", str(data), str(tmp_path / name), *everything, *more]) == 0
    audio = {}
    for name in ("one", "same", "other"):
        utts = read_data_dir(tmp_path / name).utts
        assert [utt.utt_id for utt in utts] == [f"aug-{utt.utt_id}" for utt in read_data_dir(data).utts]
        assert [utt.duration for utt in utts] == [1.0, 2.0]
        audio[name] = [read_audio(utt.path, 16000) for utt in utts]
    assert all(map(np.array_equal, audio["one"], audio["same"]))
    assert not any(map(np.array_equal, audio["one"], audio["other"]))
    same = Augmentation(snr=(5.0, 20.0), reverberation=(0.2, 0.4), codecs=("mp3", "gsm"))
    assert not augment(data, tmp_path / "one", same)
    assert augment(data, tmp_path / "one", same, prefix="noisy")


def test_recorded_noise(data: Path, tmp_path: Path) -> None:
    (tmp_path / "noise/deep").mkdir(parents=True)
    hum_N = np.sin(np.arange(4000) * 2 * np.pi * 1000 / 16000)
    soundfile.write(tmp_path / "noise/deep/hum.wav", 0.5 * hum_N, 16000)
    augment(data, tmp_path / "copy", Augmentation(snr=(-20, -20), noise_dir=tmp_path / "noise"))
    utt = read_data_dir(tmp_path / "copy").utts[0]
    samples_N = read_audio(utt.path, 16000)
    assert np.abs(np.fft.rfft(samples_N)).argmax() == 1000  # Hz: it lasts a second
    assert not augment(data, tmp_path / "copy", Augmentation(snr=(-20, -20), noise_dir=tmp_path / "noise"))
    soundfile.write(tmp_path / "noise/click.wav", hum_N[:100], 16000)
    assert augment(data, tmp_path / "copy", Augmentation(snr=(-20, -20), noise_dir=tmp_path / "noise"))
    with pytest.raises(DataError, match="found no audio file, expected noise recordings"):
        augment(data, tmp_path / "none", Augmentation(snr=(5, 20), noise_dir=tmp_path / "copy"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "found no step, expected at least one"),
        ({"codecs": ("mp3",), "noise_dir": Path("noise")}, "found no --snr, expected the level of the noise"),
        ({"snr": (float("nan"), 5)}, "--snr: found nan 5"),
        ({"snr": (20, 5)}, "--snr: found 20 5, expected the smaller first"),
        ({"reverberation": (0.0, 1.0)}, "found 0 seconds, expected more than 0"),
        ({"codecs": ("mp3", "amr")}, "found 'amr', expected some of mp3"),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Augmentation(**options)


def test_options_that_were_added_change_the_marker_only_where_they_are_set() -> None:
    """Fingerprints of earlier versions stay valid."""
    assert str(Augmentation(snr=(5, 20))) == (
        "Augmentation(reverberation=None, snr=(5, 20), noise_dir=None, codecs=(), seed=0)"
    )
    markers = {str(Augmentation(snr=(5, 20), **one)) for one in ({}, {"speeds": (0.9,)}, {"probability": 0.5})}
    assert len(markers) == 3


def test_a_copy_is_told_from_its_source(data: Path, tmp_path: Path) -> None:
    augment(data, tmp_path / "copy", Augmentation(speeds=(0.8,)))
    assert (is_augmented(data), is_augmented(tmp_path / "copy")) == (False, True)
    durations = {utt.utt_id: utt.duration for utt in read_data_dir(tmp_path / "copy").utts}
    assert durations == {"aug-a-1": 1.25, "aug-a-2": 2.5}

"""Non-speech sets."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.bin import main
from speechllm.data.derive.non_speech import DURATIONS, LEVEL, NOISES, NOTES, PEAK, make_non_speech
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.errors import DataError


def power(samples_N: np.ndarray, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples_N)) ** 2
    frequencies = np.fft.rfftfreq(len(samples_N), 1 / 16000)
    return float(spectrum[(low <= frequencies) & (frequencies < high)].sum())


def audio(target: Path, utt_id: str) -> np.ndarray:
    samples_N: np.ndarray = soundfile.read(next(Path(f"{target}_audio").glob(f"*/{utt_id}.flac")))[0]
    return samples_N


def test_kinds_lengths_and_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make_non_speech", str(tmp_path / "non_speech")]) == 0
    assert "20 utterances" in capsys.readouterr().out
    utts = {utt.utt_id: utt for utt in read_data_dir(tmp_path / "non_speech", need_text=False).utts}
    assert len(utts) == len(NOISES) * len(DURATIONS)
    samples = {utt_id: soundfile.read(utt.path)[0] for utt_id, utt in utts.items()}
    for utt_id, utt in utts.items():
        assert len(samples[utt_id]) == utt.duration * 16000
        level = 20 * np.log10(max(1e-10, np.sqrt(np.mean(samples[utt_id] ** 2))))
        assert level == pytest.approx(-200 if utt.speaker == "silence" else LEVEL, abs=0.1)
    slopes = [
        power(samples[f"{kind}-3"], 200, 400) / power(samples[f"{kind}-3"], 400, 800)
        for kind in ("white", "pink", "brown")
    ]
    assert slopes == pytest.approx([0.5, 1.0, 2.0], rel=0.1)
    assert power(samples["hum-3"], 45, 255) > 0.99 * power(samples["hum-3"], 0, 8001)


def test_another_seed_makes_other_noise(tmp_path: Path) -> None:
    for seed in "01":
        assert main(["make_non_speech", str(tmp_path / seed), "--seed", seed]) == 0
    assert not np.array_equal(audio(tmp_path / "0", "pink-0"), audio(tmp_path / "1", "pink-0"))


def test_made_again_from_another_seed_it_has_other_paths_so_that_it_is_dumped_again(tmp_path: Path) -> None:
    target = tmp_path / "non_speech"
    paths = []
    for seed in (0, 1):
        assert make_non_speech(target, seed)
        paths.append({utt.path for utt in read_data_dir(target, need_text=False).utts})
    assert not paths[0] & paths[1]


def test_to_train_on_it_has_empty_transcripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "non_speech_train"
    assert main(["make_non_speech", str(target), "--train", "3"]) == 0
    assert "15 utterances, 5 speakers" in capsys.readouterr().out
    utts = read_data_dir(target).utts
    assert {utt.text for utt in utts} == {""}
    assert len({utt.duration for utt in utts}) == 3
    for utt in utts:
        assert 0.5 <= utt.duration <= 15
        assert soundfile.info(utt.path).duration == pytest.approx(utt.duration, abs=1e-4)
    assert main(["make_non_speech", str(target), "--train", "4"]) == 0
    assert len(read_data_dir(target).utts) == 20


def test_training_is_on_other_noise_than_testing(tmp_path: Path) -> None:
    make_non_speech(tmp_path / "test", kinds=["white"])
    make_non_speech(tmp_path / "train", train=2, kinds=["white"])
    tested = audio(tmp_path / "test", "white-2")
    for number in range(2):
        trained = audio(tmp_path / "train", f"white-{number}")
        lags = np.fft.irfft(np.fft.rfft(tested, 1 << 19) * np.conj(np.fft.rfft(trained, 1 << 19)))
        assert np.abs(lags).max() < 0.1 * np.linalg.norm(tested) * np.linalg.norm(trained)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kinds: found \['rain'\], expected some of silence white"):
        make_non_speech(tmp_path / "non_speech", kinds=["rain"])
    with pytest.raises(DataError, match="train: found -1, expected a number of pieces"):
        make_non_speech(tmp_path / "non_speech", train=-1)


def test_made_once(tmp_path: Path) -> None:
    assert make_non_speech(tmp_path / "non_speech")
    assert not make_non_speech(tmp_path / "non_speech")


def test_other_kinds_that_training_need_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "unheard"
    assert main(["make_non_speech", str(target), "--kinds", "clicks", "melody"]) == 0
    assert "8 utterances, 2 speakers" in capsys.readouterr().out
    for utt in read_data_dir(target, need_text=False).utts:
        assert np.abs(soundfile.read(utt.path)[0]).max() <= PEAK + 1 / 32768  # a step of 16 bits, and none is clipped
    samples = {kind: audio(target, f"{kind}-3") for kind in ("clicks", "melody")}
    loud = {kind: float(np.mean(np.abs(samples[kind]) > 10 ** (LEVEL / 20))) for kind in samples}
    assert 0 < loud["clicks"] < 0.1 < loud["melody"]
    spectrum = np.abs(np.fft.rfft(samples["melody"]))
    peak = np.fft.rfftfreq(len(samples["melody"]), 1 / 16000)[spectrum.argmax()]
    assert np.min(np.abs(NOTES - peak)) < 1

"""Audio in every format: samples, segments, rates, and invalid files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.audio.read import audio_duration, read_audio
from speechllm.errors import DataError

RATE = 16000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "opus": ("OGG", "OPUS"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def chirp(seconds: float, rate: int = RATE) -> np.ndarray:
    """Return samples_N that sweep from 100 Hz to 2 kHz, so that every part is unique."""
    time_N = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (100 + 950 * time_N / seconds) * time_N)).astype(np.float32)


@pytest.fixture(params=FORMATS)
def audio(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a file of 4 seconds in one of the formats."""
    path = tmp_path / f"chirp.{request.param}"
    container, subtype = FORMATS[request.param]
    soundfile.write(path, chirp(4.0), RATE, format=container, subtype=subtype)
    return path


def test_a_whole_file_is_read_in_every_format(audio: Path) -> None:
    samples_N = read_audio(audio, RATE)
    assert samples_N.dtype == np.float32
    assert samples_N.shape == (4 * RATE,)
    assert audio_duration(audio) == 4.0
    tolerance = 1e-4 if audio.suffix in (".wav", ".flac") else 0.03  # the others are lossy
    assert np.sqrt(np.square(samples_N - chirp(4.0)).mean()) < tolerance


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.2345, 2.5), (3.1, None), (3.9, 3.95), (3.5, 4.0)])
def test_a_segment_is_that_part_of_the_whole(audio: Path, start: float, end: float | None) -> None:
    whole_N, part_N = read_audio(audio, RATE), read_audio(audio, RATE, start, end)
    expected_N = whole_N[round(start * RATE) : None if end is None else round(end * RATE)]
    assert part_N.shape == expected_N.shape
    assert np.abs(part_N - expected_N).max() <= (0.01 if audio.suffix == ".opus" else 1e-6)


def test_the_last_part_of_a_vorbis_file_is_where_libsndfile_does_not_find_it(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    bursts_N = 0.2 * random.standard_normal(4 * 44100) * np.repeat(random.uniform(0, 1, 40), 4410)
    path = tmp_path / "a.ogg"
    soundfile.write(path, bursts_N, 44100, format="OGG", subtype="VORBIS")
    whole_N, first = read_audio(path, 44100), round(3.9 * 44100)
    sought_N, _ = soundfile.read(path, start=first, dtype="float32")
    assert np.abs(sought_N - whole_N[first:]).max() > 0.01
    np.testing.assert_array_equal(read_audio(path, 44100, 3.9), whole_N[first:])


@pytest.mark.parametrize(("start", "end"), [(0.0, 4.1), (4.0, None), (5.0, 6.0), (-0.1, 1.0), (2.0, 2.0), (2.0, 1.0)])
def test_a_segment_outside_the_audio_is_an_error(audio: Path, start: float, end: float | None) -> None:
    with pytest.raises(DataError, match=rf"{audio}: found a segment from {start} s .*correct `segments`"):
        read_audio(audio, RATE, start, end)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", chirp(2.0, rate), rate, subtype="FLOAT")
    samples_N = read_audio(tmp_path / "a.wav", RATE)
    assert samples_N.dtype == np.float32
    assert samples_N.shape == (2 * RATE,)
    edge = RATE // 20
    assert np.abs(samples_N - chirp(2.0))[edge:-edge].max() < 1e-3
    assert audio_duration(tmp_path / "a.wav") == 2.0


def test_a_segment_at_an_odd_rate_begins_at_its_sample(tmp_path: Path) -> None:
    clicks_N = np.zeros(3 * 44101, dtype=np.float32)
    clicks_N[44101 + 22050] = 0.5
    soundfile.write(tmp_path / "a.wav", clicks_N, 44101, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav", RATE).shape == (3 * RATE,)
    segment_N = read_audio(tmp_path / "a.wav", RATE, 1.0, 2.0)
    assert segment_N.shape == (RATE,) and abs(int(segment_N.argmax()) - RATE // 2) <= 1


def test_resampling_rounds_the_length_up(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", chirp(1.0, 48000)[:1000], 48000)
    assert read_audio(tmp_path / "a.wav", RATE).shape == (334,)


def test_resampling_keeps_out_what_lies_above_the_new_nyquist_frequency(tmp_path: Path) -> None:
    tone_N = 0.5 * np.sin(2 * np.pi * 9000 * np.arange(48000) / 48000)
    soundfile.write(tmp_path / "a.wav", tone_N, 48000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", RATE)[800:-800]).max() < 1e-4


@pytest.mark.parametrize("read", [audio_duration, lambda path: read_audio(path, RATE)], ids=["duration", "read"])
class TestBadFiles:
    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.999])
    def test_truncated(self, audio: Path, read, kept: float) -> None:
        data = audio.read_bytes()
        audio.write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(DataError, match=f"{audio}: .*truncated"):
            read(audio)

    def test_cut_behind_a_whole_ogg_page(self, tmp_path: Path, read) -> None:
        path = tmp_path / "a.opus"
        soundfile.write(path, chirp(4.0), RATE, format="OGG", subtype="OPUS")
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(b"OggS")])
        assert soundfile.info(path).frames > 0  # which libsndfile takes for the whole
        with pytest.raises(DataError, match="truncated"):
            read(path)

    def test_mp3_that_libsndfile_would_cut(self, tmp_path: Path, read) -> None:
        path = tmp_path / "a.mp3"
        loud_N = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE)
        samples_N = np.concatenate([loud_N, np.zeros(20 * RATE)])
        soundfile.write(path, samples_N, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
        data = path.read_bytes()
        path.write_bytes(data[data.index(data[:2], 4) :])  # without the frame that states the length
        assert soundfile.info(path).frames < len(samples_N)
        with pytest.raises(DataError, match="samples decoded by libsndfile, expected"):
            read(path)

    def test_mp3_behind_a_tag(self, tmp_path: Path, read) -> None:
        path = tmp_path / "a.mp3"
        soundfile.write(path, chirp(4.0), RATE, format="MP3")
        path.write_bytes(b"ID3\x04\x00\x00" + bytes([0, 0, 1, 2]) + bytes(130) + path.read_bytes())
        read(path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(DataError, match="truncated"):
            read(path)

    def test_missing(self, tmp_path: Path, read) -> None:
        with pytest.raises(DataError, match=r"gone\.wav: no such audio file"):
            read(tmp_path / "gone.wav")

    def test_empty(self, audio: Path, read) -> None:
        audio.write_bytes(b"")
        with pytest.raises(DataError, match=f"{audio}: the file is empty"):
            read(audio)

    def test_no_samples(self, tmp_path: Path, read) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
        with pytest.raises(DataError, match=r"a\.wav: empty or truncated: the file holds no samples"):
            read(tmp_path / "a.wav")

    def test_stereo(self, tmp_path: Path, read) -> None:
        soundfile.write(tmp_path / "a.flac", np.zeros((100, 2)), RATE)
        with pytest.raises(DataError, match=r"a\.flac: found 2 channels, expected 1"):
            read(tmp_path / "a.flac")

    @pytest.mark.parametrize("name", ["a.wav", "a.raw"])
    def test_no_audio(self, tmp_path: Path, read, name: str) -> None:
        (tmp_path / name).write_text("HELLO WORLD " * 100)
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_damage_in_the_middle_is_an_error_when_read(tmp_path: Path) -> None:
    for name in ("flac", "opus"):
        path = tmp_path / f"a.{name}"
        soundfile.write(path, chirp(4.0), RATE, format=FORMATS[name][0], subtype=FORMATS[name][1])
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 20] = bytes(20)
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"{path}: truncated"):
            read_audio(path, RATE)


def test_samples_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan, 0.0]), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="NaN"):
        read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_written_into_a_pipe_does_not_know_its_size(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, chirp(1.0), RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert audio_duration(path) == 1.0
    assert read_audio(path, RATE).shape == (RATE,)

"""Files of several streams, headers without a length, and odd kinds of WAV."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.audio import mp3
from speechllm.data.audio.read import audio_duration, read_audio, read_blocks, stated_duration
from speechllm.errors import DataError

RATE = 16000
DELAY = 1200  # samples that an MP3 without LAME's header may begin or end with


def tone(frequency: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


LOW, HIGH = tone(300, 1.5), tone(1500, 1.0)


def encoded(samples: np.ndarray, container: str, subtype: str, rate: int = RATE) -> bytes:
    """Return a file of samples; an MP3 gets a header that counts its frames."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def mp3_file(samples: np.ndarray, *, is_counted: bool = True, rate: int = RATE) -> bytes:
    data = encoded(samples, "MP3", "MPEG_LAYER_III", rate)
    first = mp3.frame_at(data, 0)
    assert first is not None and mp3.stated_frames(data, first) is not None
    return data if is_counted else data[first.end :]


def frequencies(samples_N: np.ndarray) -> list[int]:
    """Return the loudest frequency of each quarter of a second, in steps of 100 Hz."""
    quarters = samples_N[: len(samples_N) // 4000 * 4000].reshape(-1, 4000)
    return [round(float(np.abs(np.fft.rfft(part)).argmax()) * RATE / 4000 / 100) * 100 for part in quarters]


def check_both(path: Path, slack: int) -> None:
    """Check that LOW and HIGH are read completely by every reader."""
    whole_N = read_audio(path, RATE)
    expected = len(LOW) + len(HIGH)
    assert expected <= len(whole_N) <= expected + slack
    found = frequencies(whole_N)
    assert found[:6] == [300] * 6 and found[7:10] == [1500] * 3
    assert audio_duration(path) == len(whole_N) / RATE
    assert stated_duration(path) == pytest.approx(len(whole_N) / RATE, abs=slack / RATE)
    blocks_N = np.concatenate([block_N for block_N, _ in read_blocks(path, 0.3)])
    np.testing.assert_allclose(blocks_N, whole_N, atol=1e-6)
    np.testing.assert_array_equal(read_audio(path, RATE, 1.25, 1.75), whole_N[round(1.25 * RATE) : round(1.75 * RATE)])


@pytest.mark.parametrize("between", [b"", b"TAG".ljust(128, b"x"), b"ID3\x04\0\0\0\0\0\x7f" + bytes(127), bytes(999)])
@pytest.mark.parametrize("is_counted", [True, False], ids=["both headers", "first header"])
def test_concatenated_mp3(tmp_path: Path, between: bytes, is_counted: bool) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_file(LOW) + between + mp3_file(HIGH, is_counted=is_counted))
    assert soundfile.info(path).frames <= len(LOW) + DELAY  # as libsndfile reads it
    check_both(path, 0 if is_counted else 2 * DELAY)


@pytest.mark.parametrize("block", [0.3, 1.0])
def test_blocks_of_an_mp3_lose_nothing(tmp_path: Path, block: float) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_file(LOW))
    blocks_N = np.concatenate([block_N for block_N, _ in read_blocks(path, block)])
    np.testing.assert_allclose(blocks_N, read_audio(path, RATE), atol=1e-6)


def test_three_mp3_and_a_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    tag = b"ID3\x04\0\0\0\0\0\x7f" + bytes(127)
    path.write_bytes(tag + mp3_file(LOW) + tag + mp3_file(HIGH) + mp3_file(LOW) + b"TAG".ljust(128, b"x"))
    assert audio_duration(path) == 4.0
    assert frequencies(read_audio(path, RATE)) == [300] * 6 + [1500] * 4 + [300] * 6


def test_concatenated_mp3_of_two_rates_or_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_file(LOW) + mp3_file(tone(300, 1.0, 24000), rate=24000))
    for read in (audio_duration, stated_duration):
        with pytest.raises(DataError, match=r"several kinds \(16000 Hz and 1 channels, 24000 Hz"):
            read(path)
    path.write_bytes(mp3_file(LOW) + mp3_file(HIGH)[:-300])
    with pytest.raises(DataError, match="truncated"):
        audio_duration(path)
    with pytest.raises(DataError, match="truncated"):
        list(read_blocks(path, 1.0))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_ogg(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.ogg"
    first, second = (encoded(samples, "OGG", subtype) for samples in (LOW, HIGH))
    path.write_bytes(first + second)
    check_both(path, 0)
    path.write_bytes(first + second[:-100])
    with pytest.raises(DataError, match="truncated"):
        read_audio(path, RATE)
    path.write_bytes(first + encoded(np.stack([HIGH, HIGH], 1), "OGG", subtype))
    with pytest.raises(DataError, match="several kinds"):
        read_audio(path, RATE)


def test_flac_without_a_length(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    data = bytearray(encoded(LOW, "FLAC", "PCM_16"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    for read in (audio_duration, stated_duration, lambda path: read_audio(path, RATE)):
        with pytest.raises(DataError, match=r"states no length, .*convert it, .*ffmpeg -i .*a\.flac a\.wav"):
            read(path)


def test_concatenated_flac_is_an_error_when_read(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(encoded(LOW, "FLAC", "PCM_16") + encoded(HIGH, "FLAC", "PCM_16"))
    for read in (lambda: read_audio(path, RATE), lambda: list(read_blocks(path, 1.0))):
        with pytest.raises(DataError, match="several concatenated FLAC files"):
            read()


def test_concatenated_wav_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(LOW, "WAV", "PCM_16") + encoded(HIGH, "WAV", "PCM_16"))
    with pytest.raises(DataError, match=r"a\.wav"):
        read_audio(path, RATE)


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
def test_wav_whose_header_was_never_finished(tmp_path: Path, subtype: str, riff: int) -> None:
    path = tmp_path / "a.wav"
    data = bytearray(encoded(LOW, "WAV", subtype))
    begin = data.index(b"data") + 4
    data[4:8], data[begin : begin + 4] = riff.to_bytes(4, "little"), bytes(4)
    path.write_bytes(data)
    assert soundfile.info(path).frames == 0
    assert audio_duration(path) == stated_duration(path) == 1.5
    assert np.abs(read_audio(path, RATE) - LOW).max() < 1e-4


def test_wav_of_no_samples_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    listed = b"LIST\x08\0\0\0INFOabcd"
    header = encoded(LOW[:0], "WAV", "PCM_16")
    path.write_bytes(header[:4] + (len(header) + len(listed) - 8).to_bytes(4, "little") + header[8:] + listed)
    with pytest.raises(DataError, match="holds no samples"):
        read_audio(path, RATE)


@pytest.mark.parametrize(
    ("container", "subtype", "tolerance"),
    [
        ("WAVEX", "PCM_16", 1e-4),
        ("WAVEX", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "ALAW", 2e-2),
        ("WAV", "ULAW", 2e-2),
        ("WAV", "IMA_ADPCM", 0.3),
        ("WAV", "MS_ADPCM", 5e-2),
        ("RF64", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4),
        ("AIFF", "PCM_16", 1e-4),
        ("AU", "ULAW", 2e-2),
        ("NIST", "PCM_16", 1e-4),
    ],
)
def test_odd_kinds(tmp_path: Path, container: str, subtype: str, tolerance: float) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(LOW, container, subtype))
    samples_N = read_audio(path, RATE)
    assert len(LOW) <= len(samples_N) < len(LOW) + 1100  # ADPCM comes in blocks
    assert np.abs(samples_N[: len(LOW)] - LOW).max() <= tolerance
    assert audio_duration(path) == len(samples_N) / RATE


@pytest.mark.parametrize("rate", [8000, 192000])
def test_the_rates_of_telephones_and_studios(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300, 1.5, rate), rate, subtype="FLOAT")
    samples_N = read_audio(tmp_path / "a.wav", RATE)
    assert np.abs(samples_N - LOW)[800:-800].max() < 1e-4


def test_a_rate_that_is_none(tmp_path: Path) -> None:
    for rate in (1, 2_000_000_000):
        soundfile.write(tmp_path / "a.wav", LOW, rate)
        with pytest.raises(DataError, match=rf"a\.wav: found {rate} Hz"):
            read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0", "MPEG-4"),
        ("a.wav", b"\0\0\0\x20ftypmp42\0\0\0\0", "MPEG-4"),
        ("a.webm", b"\x1a\x45\xdf\xa3\x01\0\0\0", "Matroska or WebM"),
        ("a.aac", b"\xff\xf1\x50\x80\x01\x1f\xfc", "AAC"),
        ("a.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
        ("it's.amr", b"#!AMR\n", "AMR"),
        ("a.mp4", b"something else", r"\.mp4"),
    ],
)
def test_formats_that_are_not_read(tmp_path: Path, name: str, head: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(head + bytes(2000))
    for read in (audio_duration, stated_duration, lambda path: read_audio(path, RATE)):
        with pytest.raises(DataError, match=rf"{name}: cannot be read: {reason}.*convert it, .*ffmpeg -i .*\.wav"):
            read(path)


def test_shorten_says_what_uncompresses_it(tmp_path: Path) -> None:
    header = "NIST_1A\n   1024\nsample_count -i 16000\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    (tmp_path / "a.sph").write_bytes(header.encode().ljust(1024) + b"ajkg" + bytes(3000))
    with pytest.raises(DataError, match="compressed with shorten.*sph2pipe"):
        read_audio(tmp_path / "a.sph", RATE)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    for path, reason in (
        (tmp_path, "found a folder, pipe"),
        (tmp_path / "a.wav", "found a folder, pipe"),  # and is not opened, which would wait for a writer
        (tmp_path / ("x" * 300), "cannot be opened"),
        (tmp_path / "a\0b", "no such"),
    ):
        with pytest.raises(DataError, match=reason):
            read_audio(path, RATE)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.wav"
    path.write_bytes(encoded(LOW, "WAV", "PCM_16"))
    assert read_audio(path, RATE).shape == LOW.shape

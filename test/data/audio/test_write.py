"""Atomic writing of audio."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.audio.write import write_audio, write_flac

NOISE = np.random.default_rng(0).uniform(-1, 1, 16000)


def test_flac_up_to_full_scale_and_wav_beyond(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.b", NOISE, 16000)
    assert path == tmp_path / "a.b.flac" and soundfile.info(path).frames == 16000
    path = write_audio(tmp_path / "a.b", 2 * NOISE, 16000)
    assert path == tmp_path / "a.b.wav"
    assert np.allclose(soundfile.read(path)[0], 2 * NOISE)


@pytest.mark.parametrize(("bits", "subtype"), [(16, "PCM_16"), (24, "PCM_24")])
def test_bits(tmp_path: Path, bits: int, subtype: str) -> None:
    samples_N = np.arange(-500, 500, dtype=np.int32) << (32 - bits)
    info = soundfile.info(write_flac(tmp_path / "x.flac", samples_N, 8000, bits))
    assert (info.subtype, info.samplerate) == (subtype, 8000)
    assert np.array_equal(soundfile.read(tmp_path / "x.flac", dtype="int32")[0], samples_N)


@pytest.mark.parametrize("scale", [1, 2])  # FLAC and WAV
def test_a_limit_of_the_disk_is_an_error_and_leaves_no_file(tmp_path: Path, scale: int) -> None:
    def limited(function: Callable[[], object], limit: int) -> int:
        """Return 1 if the function fails with an OSError in a process with a limit on the file size."""
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                function()
            except OSError:
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    size = write_audio(tmp_path / "whole", scale * NOISE, 16000).stat().st_size
    for limit in (0, 1, 42, size // 2, size - 1):
        assert limited(lambda: write_audio(tmp_path / "cut", scale * NOISE, 16000), limit) == 1
        assert len(list(tmp_path.iterdir())) == 1
    assert limited(lambda: write_audio(tmp_path / "cut", scale * NOISE, 16000), size) == 0

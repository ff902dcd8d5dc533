"""Writing of audio files; a file is complete or absent."""

from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

from speechllm.atomic import new_file


def write_audio(stem: Path, samples_N: np.ndarray, sample_rate: int) -> Path:
    """Write mono samples as 16-bit FLAC, or as float WAV if FLAC would clip; return the path.

    Args:
        stem: path without ``.flac`` or ``.wav``; dots in it are kept.
        samples_N: samples with full scale 1; resampling and decoding may exceed it.
        sample_rate: sampling rate (Hz).
    """
    if np.abs(samples_N).max() <= 1:
        return write_flac(stem.with_name(f"{stem.name}.flac"), samples_N, sample_rate)
    return _write(stem.with_name(f"{stem.name}.wav"), samples_N, sample_rate, format="WAV", subtype="FLOAT")


def write_flac(path: Path, samples_N: np.ndarray, sample_rate: int, bits: int = 16) -> Path:
    """Write mono samples as FLAC of 8, 16 or 24 bits; return the path."""
    return _write(path, samples_N, sample_rate, format="FLAC", subtype=f"PCM_{'S8' if bits == 8 else bits}")


def _write(path: Path, samples_N: np.ndarray, sample_rate: int, **form: str) -> Path:
    """Encode in memory, then write: on a full disk libsndfile would leave a truncated file without an error."""
    encoded = BytesIO()
    soundfile.write(encoded, samples_N, sample_rate, **form)
    with new_file(path, sync=False) as temporary:
        temporary.write_bytes(encoded.getbuffer())
    return path

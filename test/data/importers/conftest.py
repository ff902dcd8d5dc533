"""A maker of audio files, and a reader of sources."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.importers import Options
from speechllm.data.kaldi.rows import BadRow, Row
from speechllm.registry import component_module

Read = Callable[..., tuple[list[Row], dict[str, str]]]


@pytest.fixture
def record() -> Callable[[Path, float], Path]:
    """Return a function that writes a given duration of noise (seconds)."""

    def write(path: Path, seconds: float = 1.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples_N = np.random.default_rng(len(path.name)).integers(-9999, 9999, round(seconds * 16000))
        soundfile.write(path, samples_N.astype(np.int16), 16000)
        return path

    return write


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads a source by a format, which must claim it; good rows, and reasons by place."""

    def read(name: str, source: Path, split: str = "", **columns: str) -> tuple[list[Row], dict[str, str]]:
        importer = component_module("data.importers", name)
        assert importer.claims(source)
        rows = list(importer.read(source, tmp_path / "audio", Options(split=split, columns=columns)))
        bad = {row.where: row.reason for row in rows if isinstance(row, BadRow)}
        return [row for row in rows if isinstance(row, Row)], bad

    return read

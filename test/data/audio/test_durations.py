"""Durations of many files."""

from pathlib import Path

import numpy as np
import soundfile

from speechllm.data.audio.durations import measure_durations


def test_good_and_bad_files_are_told_apart_in_order(tmp_path: Path) -> None:
    paths = {}
    for i in range(40):
        paths[f"utt{i}"] = tmp_path / f"{i}.flac"
        soundfile.write(paths[f"utt{i}"], np.zeros(160 * (i + 1)), 16000)
    paths["utt7"].write_bytes(b"")
    paths["utt9"] = tmp_path / "gone"
    durations, broken = measure_durations(paths, "test")
    assert durations == {f"utt{i}": (i + 1) / 100 for i in range(40) if i not in (7, 9)}
    assert list(durations) == [f"utt{i}" for i in range(40) if i not in (7, 9)]
    assert "the file is empty" in broken["utt7"]
    assert "no such audio file" in broken["utt9"]

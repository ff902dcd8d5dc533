"""Durations of many audio files at once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from speechllm.data.audio.read import audio_duration
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

_THREADS = 16  # mostly waiting for the disk or the network


def measure_durations(paths: Mapping[str, Path], title: str) -> tuple[dict[str, Seconds], dict[str, str]]:
    """Measure the duration of every file, in a pool of threads with a progress bar.

    Returns:
        The durations of the valid files, and the errors of the others; both by the id in ``paths``.
    """
    durations: dict[str, Seconds] = {}
    broken: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(_measure, paths.values())
        for key, result in zip(paths, tqdm(results, title, len(paths), unit=" files", leave=False), strict=True):
            if isinstance(result, str):
                broken[key] = result
            else:
                durations[key] = result
    return durations, broken


def _measure(path: Path) -> Seconds | str:
    try:
        return audio_duration(path)
    except DataError as error:
        return str(error)

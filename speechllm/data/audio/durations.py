"""Durations of many audio files at once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from speechllm.data.audio.read import audio_duration
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

_THREADS = 16  # they wait for the disk or the network most of the time


def measure_durations(paths: Mapping[str, Path], title: str) -> tuple[dict[str, Seconds], dict[str, str]]:
    """Open every file, in a pool of threads and with a progress bar.

    Returns:
        The durations of the good files and, for each of the others, what is wrong with it; both by the id in ``paths``.
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

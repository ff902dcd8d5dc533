"""Speed of dumping and reading features, in hours of speech per minute, compared with other extractors.

    python test/benchmarks/dump_throughput.py [--num_mels 128]

Noise as FLAC of 16 kHz, one thread per process; medians of several rounds. The other extractors pad every utterance to
30 s, as designed. openai-whisper is measured if it is installed.
"""

import argparse
import importlib.util
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import WhisperFeatureExtractor

from speechllm.data.audio.read import read_audio
from speechllm.data.batch import Collate, Loader
from speechllm.data.config import DataConfig
from speechllm.data.dump import Extract, dump_job, merge_dump
from speechllm.data.dump_dataset import DumpDataset
from speechllm.data.kaldi.data_dir import Utterance, write_data_dir
from speechllm.data.sampler import BucketSampler
from speechllm.frontends import log_mel


def main() -> None:
    """Measure every part once per round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_mels", type=int, default=80, help="mel bins")
    parser.add_argument("--utterances", type=int, default=400, help="utterances of 10 s on average")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        utts = make_utterances(Path(name), args.utterances)
        write_data_dir(Path(name) / "data", utts)
        hours = sum(utt.duration for utt in utts) / 3600
        speeds = defaultdict(list)
        for number in range(args.rounds):
            for part, run in parts(Path(name), f"dump-{number}", utts, args.num_mels).items():
                start = time.perf_counter()
                run()
                speeds[part].append(60 * hours / (time.perf_counter() - start))
    for part, found in speeds.items():
        print(f"{part:>58}: {statistics.median(found):5.1f} ({min(found):.1f} to {max(found):.1f}) hours a minute")


def make_utterances(folder: Path, number: int) -> list[Utterance]:
    """Write audio files of 2 to 18 s."""
    rng = np.random.default_rng(0)
    utts = []
    for i in range(number):
        path, duration = folder / f"utt-{i:04d}.flac", round(float(rng.uniform(2, 18)), 2)
        soundfile.write(path, 0.1 * rng.normal(size=round(duration * 16000)), 16000)
        utts.append(Utterance(utt_id=path.stem, speaker="utt", path=path, duration=duration, text="NOISE"))
    return utts


def parts(folder: Path, dump: str, utts: Sequence[Utterance], num_mels: int) -> dict[str, Callable[[], object]]:
    """Return the measured functions by name."""
    extractors = peers(num_mels) | {"speechllm": log_mel.Config(num_mels=num_mels).build().extract}
    found: dict[str, Callable[[], object]] = {"audio read": lambda: [read_audio(utt.path, 16000) for utt in utts]}
    for name, extract in extractors.items():
        found[f"audio to features in memory, {name}"] = lambda extract=extract: [
            extract(read_audio(utt.path, 16000)) for utt in utts
        ]
    for nj, compress in itertools.product((1, 2), (False, True)):
        bits = 16 if compress else 32
        found[f"dumped in {bits} bits by {nj} job{'s' * (nj > 1)}"] = lambda nj=nj, compress=compress: dump_in_jobs(
            folder / "data", folder / f"{dump}-{nj}-{compress}", num_mels, nj, compress
        )
    found["batches read from the dump of 16 bits"] = lambda: read_batches(folder / f"{dump}-1-True")
    return found


def peers(num_mels: int) -> dict[str, Extract]:
    """Return other functions from samples to Whisper's features."""
    transformers_extractor = WhisperFeatureExtractor(feature_size=num_mels)

    def by_transformers(samples_N: np.ndarray) -> np.ndarray:
        return transformers_extractor(samples_N, sampling_rate=16000, return_tensors="np").input_features

    if importlib.util.find_spec("whisper") is None:
        return {"transformers": by_transformers}
    from whisper.audio import log_mel_spectrogram, pad_or_trim

    def by_whisper(samples_N: np.ndarray) -> np.ndarray:
        return log_mel_spectrogram(pad_or_trim(samples_N), num_mels).numpy()

    return {"transformers": by_transformers, "openai-whisper": by_whisper}


def dump_in_jobs(data_dir: Path, out_dir: Path, num_mels: int, nj: int, compress: bool) -> None:
    """Dump in separate processes, as the recipes do, without the start-up time of Python."""
    jobs = [
        multiprocessing.get_context("fork").Process(target=_job, args=(data_dir, out_dir, num_mels, nj, job, compress))
        for job in range(1, nj + 1)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    merge_dump(data_dir, out_dir, nj)


def _job(data_dir: Path, out_dir: Path, num_mels: int, nj: int, job: int, compress: bool) -> None:
    frontend = log_mel.Config(num_mels=num_mels).build()
    dump_job(data_dir, out_dir, frontend.extract, frontend.fingerprint(), 16000, nj, job, compress)


def read_batches(dump_dir: Path) -> None:
    """Read every batch of an epoch."""
    dataset = DumpDataset(dump_dir)
    for _ in Loader(dataset, BucketSampler(dataset.durations, DataConfig(), seed=0), Collate(encoded=False)):
        pass


if __name__ == "__main__":
    main()

"""How fast features are dumped and read again: ``python test/benchmarks/dump_throughput.py [--num_mels 128]``.

On one core, with noise as FLAC of 16 kHz; prints hours of speech per minute for each part.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechllm.data.audio import read_audio
from speechllm.data.batch import Collate, Loader
from speechllm.data.config import DataConfig
from speechllm.data.data_dir import Utterance, write_data_dir
from speechllm.data.dataset import DumpDataset
from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.sampler import BucketSampler
from speechllm.frontends import log_mel


def make_utterances(folder: Path, number: int) -> list[Utterance]:
    rng = np.random.default_rng(0)
    utts = []
    for i in range(number):
        path, duration = folder / f"utt-{i:04d}.flac", round(float(rng.uniform(2, 18)), 2)
        soundfile.write(path, 0.1 * rng.normal(size=round(duration * 16000)), 16000)
        utts.append(Utterance(utt_id=path.stem, speaker="utt", path=path, duration=duration, text="NOISE"))
    return utts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_mels", type=int, default=80, help="mel bins")
    parser.add_argument("--utterances", type=int, default=200, help="utterances of 10 s on average")
    args = parser.parse_args()
    torch.set_num_threads(1)
    frontend = log_mel.Config(num_mels=args.num_mels).build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        utts = make_utterances(folder, args.utterances)
        hours = sum(utt.duration for utt in utts) / 3600
        write_data_dir(folder / "data", utts)

        def measure(part: str, run: Callable[[], object]) -> None:
            start = time.perf_counter()
            run()
            print(f"{part:>18}: {60 * hours / (time.perf_counter() - start):7.1f} hours of speech a minute")

        def dump(compress: bool) -> None:
            out_dir = folder / f"dump-{compress}"
            dump_job(folder / "data", out_dir, frontend.extract, frontend.identity(), 16000, 1, 1, compress)
            merge_dump(folder / "data", out_dir, 1)

        samples = [read_audio(utt.path, 16000) for utt in utts]
        measure("read audio", lambda: [read_audio(utt.path, 16000) for utt in utts])
        measure("features", lambda: [frontend.extract(one) for one in samples])
        for compress in (False, True):
            measure("dump, 16 bits" if compress else "dump, 32 bits", lambda compress=compress: dump(compress))
            dataset = DumpDataset(folder / f"dump-{compress}")
            sampler = BucketSampler(dataset.durations, DataConfig(), seed=0)
            loader = Loader(dataset, sampler, Collate(frontend, 3000, encoded=False))
            measure("batches", lambda loader=loader: list(loader))


if __name__ == "__main__":
    main()

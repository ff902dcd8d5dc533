"""Memory of a list of utterances in training and in its worker processes, and the time to load it.

    python test/benchmarks/utterance_lists.py /tmp/lists --utterances 8000000 --workers 2

The list is synthetic, of the form of GigaSpeech's: segments of recordings, here all of one silent file. Columns are
megabytes of the kernel's smaps_rollup: Rss counts shared pages in every process, Pss divides them among the processes,
Private are the pages of one process alone. Bytes an utterance are the growth of Rss since the list was loaded.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechllm.data.audio_dataset import AudioDataset
from speechllm.data.batch import Collate, Loader
from speechllm.data.concat import ConcatenatedDataset
from speechllm.data.config import DataConfig
from speechllm.data.dataset import select_for_training
from speechllm.data.sampler import BucketSampler
from speechllm.frontends import log_mel

PER_RECORDING = 215
TEXT = "and so this is about as long as most of the transcripts in that corpus are, some are longer"


def main() -> None:
    """Write the list if it is missing, load it, read some batches, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--utterances", type=int, default=8_000_000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if not (args.folder / "wav.scp").is_file():
        make(args.folder, args.utterances)
    torch.set_num_threads(1)
    frontend, config = log_mel.Config().build(), DataConfig(dump="none")
    print(f"{args.utterances} utterances, {(args.folder / 'text').stat().st_size / args.utterances:.0f} bytes of text")
    print("|process|after|seconds|Rss|Pss|Private|bytes per utterance|\n|---|---|---|---|---|---|---|")
    before, start = memory("self")["Rss"], time.perf_counter()

    def row(process: str, after: str, pid: str = "self") -> None:
        found = memory(pid)
        private = found["Private_Clean"] + found["Private_Dirty"]
        per_utt = f"{(found['Rss'] - before) * 1e6 / args.utterances:.0f}" if pid == "self" else ""
        seconds = time.perf_counter() - start
        print(
            f"|{process}|{after}|{seconds:.0f}|{found['Rss']:.0f}|{found['Pss']:.0f}|{private:.0f}|{per_utt}|",
            flush=True,
        )

    row("main", "imports")
    dataset = AudioDataset(args.folder, frontend)
    row("main", "list")
    rows_N, _ = select_for_training(dataset, config)
    joined = ConcatenatedDataset(dataset, None, frontend)
    loader = Loader(joined, BucketSampler(joined.lengths(rows_N), config, 1), Collate(encoded=False), args.workers)
    row("main", "batches of an epoch")
    batches = iter(loader)
    for _ in range(20):
        next(batches)
    row("main", "20 batches")
    children = Path("/proc/self/task").glob("*/children")
    for pid in [one for path in children for one in path.read_text().split()]:
        row("worker", "20 batches", pid)
    loader.sampler.state_dict()
    row("main", "state of the sampler")
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(f"peak of main: {int(peak.split()[1]) / 1e3:.0f} MB")


def make(folder: Path, number: int) -> None:
    """Write the tables."""
    folder.mkdir(parents=True)
    audio = (folder / "silence.opus").absolute()
    soundfile.write(audio, np.zeros(16_000 * 8 * (PER_RECORDING + 1)), 16_000, format="OGG", subtype="OPUS")
    names = ("utt2spk", "utt2dur", "text", "segments")
    files = [(folder / name).open("w") for name in names]
    for i in range(number):
        recording, part = f"POD{i // PER_RECORDING:010d}", i % PER_RECORDING
        utt_id, duration = f"{recording}_S{part:07d}", 2 + i % 60 / 10
        values = (utt_id, duration, TEXT[: 40 + i % 50].strip(), f"{recording} {8.0 * part} {8 * part + duration}")
        for file, value in zip(files, values, strict=True):
            file.write(f"{utt_id} {value}\n")
    for file in files:
        file.close()
    with (folder / "wav.scp").open("w") as file:
        file.writelines(f"POD{k:010d} {audio}\n" for k in range(-(-number // PER_RECORDING)))


def memory(pid: str) -> dict[str, float]:
    """Return the memory of a process in megabytes."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    return {name.rstrip(":"): int(value) * 1024 / 1e6 for name, value, *_ in lines}


if __name__ == "__main__":
    main()

"""Memory and time by duration of speech, from features to speech tokens, each duration in its own process.

    python test/benchmarks/long_speech.py downloads/models/whisper-tiny.en [--seconds 10 60 600] [--connectors fc ...]

One batch of one utterance of noise, float32, on the CPU; the memory is the peak of the process above its memory after
loading the models (Linux).
"""

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch

from speechllm.encoders import whisper
from speechllm.registry import available, config_class

SECONDS = (10, 30, 60, 120, 300, 600)
EMBEDDING_DIM, VOCABULARY = 576, 49_152  # SmolLM2-135M's


def forget_peak() -> None:
    """Reset the peak memory of this process in Linux, to exclude loading."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_mib(name: str) -> float:
    """Return the memory of this process (VmRSS), or its peak (VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def measure(path: Path, connector: str, seconds: int) -> tuple[float, float, int]:
    """Return seconds, MiB, and the number of speech tokens."""
    torch.manual_seed(0)
    encoder = whisper.Config(path=str(path)).build()
    built = config_class("connectors", connector)().build(encoder.output_dim, EMBEDDING_DIM, encoder.segment_states)
    built.bind(SimpleNamespace(embedding_matrix=partial(torch.randn, VOCABULARY, EMBEDDING_DIM)))
    feats_BTF, lens_B = torch.randn(1, 100 * seconds, encoder.feature_dim), torch.tensor([100 * seconds])
    forget_peak()
    before, start = memory_mib("VmRSS"), time.perf_counter()
    with torch.inference_mode():
        tokens_B = built(*encoder(feats_BTF, lens_B)).speech_lens_B
    return time.perf_counter() - start, memory_mib("VmHWM") - before, int(tokens_B)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whisper", type=Path, help="directory of a Whisper model")
    parser.add_argument("--seconds", type=int, nargs="+", default=SECONDS, help="lengths of speech (%(default)s)")
    without_llm = [name for name in available("connectors") if name != "ctc"]  # its subword units are an LLM's
    parser.add_argument("--connectors", nargs="+", default=without_llm, help="which (%(default)s)")
    args = parser.parse_args()
    print("|connector|" + "|".join(f"{seconds} s" for seconds in args.seconds) + "|")
    print("|---" * (1 + len(args.seconds)) + "|")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for connector in args.connectors:
            cells = []
            for seconds in args.seconds:
                taken, mib, tokens = pool.apply(measure, (args.whisper, connector, seconds))
                cells.append(f"{taken:.1f} s, {mib:.0f} MiB, {tokens} tokens")
            print(f"|{connector}|" + "|".join(cells) + "|", flush=True)


if __name__ == "__main__":
    main()

"""Start-up, speed and memory of ``load`` and ``transcribe``, compared with transformers' Whisper pipeline.

    python test/benchmarks/transcribe.py MODEL AUDIO...

The audio is joined and cut, or repeated, to pieces of 10 s, 60 s and 600 s. Each measurement is a process of its own:
start-up is the time until the model is loaded, imports included; memory the largest resident set. MODEL searches as it
is configured, and greedily. The pipeline runs the whole Whisper whose encoder MODEL has, on chunks of 30 s, as its
documentation has it for long audio.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = {10: 5, 60: 3, 600: 1}  # by seconds of audio
BATCH_SIZES = (1, 8)
SYSTEMS = ("speechllm", "speechllm, greedy", "transformers")
RATE = 16000


def main() -> None:
    """Measure in child processes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="trained experiment, packed directory or shipped model")
    parser.add_argument("audio", nargs="+", help="recordings of speech")
    parser.add_argument("--durations", type=int, nargs="+", default=[*ROUNDS], choices=ROUNDS, help="s (%(default)s)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.model, Path(args.audio[0]), args.child[0], int(args.child[1]))))
        return
    print("|audio|batch|what|start-up (s)|real-time factor|memory (GiB)|words|\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for duration in args.durations:
            path = Path(folder) / f"{duration}.wav"
            write_audio([Path(name) for name in args.audio], path, duration)
            for batch_size in BATCH_SIZES:
                for what in SYSTEMS:
                    row = child(args.model, path, what, batch_size)
                    figures = f"{row['start']:.1f}|{row['seconds'] / duration:.3f}|{row['memory']:.2f}|{row['words']}"
                    print(f"|{duration} s|{batch_size}|{what}|{figures}|", flush=True)


def child(model: str, path: Path, what: str, batch_size: int) -> dict[str, float]:
    """Measure in a separate process."""
    command = [sys.executable, __file__, model, str(path), "--child", what, str(batch_size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def measure(model: str, path: Path, what: str, batch_size: int) -> dict[str, float]:
    """Return start-up and median time in seconds, memory in GiB, and the number of words."""
    begin = time.perf_counter()
    recognize = pipeline(model, batch_size) if what == "transformers" else ours(model, batch_size, "greedy" in what)
    start = time.perf_counter() - begin
    duration = int(path.stem)
    times, text = [], ""
    for _ in range(ROUNDS[duration]):
        begin = time.perf_counter()
        text = recognize(path)
        times.append(time.perf_counter() - begin)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"start": start, "seconds": statistics.median(times), "memory": memory, "words": len(text.split())}


def ours(model: str, batch_size: int, greedy: bool):  # type: ignore[no-untyped-def]
    """Return a function that transcribes a file with this library."""
    from speechllm import load

    loaded = load(model, overrides=["decode.search.num_beams=1"] if greedy else [], merge_lora=True)
    return lambda path: loaded.transcribe(path, batch_size=batch_size).text


def pipeline(model: str, batch_size: int):  # type: ignore[no-untyped-def]
    """Return what transcribes a file with transformers; the audio is read by soundfile, as ours is."""
    import soundfile
    import transformers

    from speechllm.pretrained.directory import read_model

    whisper = read_model(model).config.encoder.path
    run = transformers.pipeline("automatic-speech-recognition", model=whisper, chunk_length_s=30, batch_size=batch_size)
    return lambda path: run({"raw": soundfile.read(path, dtype="float32")[0], "sampling_rate": RATE})["text"]


def write_audio(sources: list[Path], path: Path, duration: int) -> None:
    """Join ``sources``, over and over if need be, until ``duration`` seconds are full."""
    import numpy as np
    import soundfile

    from speechllm.data.audio.read import read_audio

    joined_N = np.concatenate([read_audio(source, RATE) for source in sources])
    soundfile.write(path, np.resize(joined_N, duration * RATE), RATE)


if __name__ == "__main__":
    main()

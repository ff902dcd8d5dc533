"""Transcription on the CPU compared with faster-whisper: start-up and real-time factor, each run in its own process.

    python test/benchmarks/beside_faster_whisper.py MODEL AUDIO... --ct2 whisper-base.en-ct2 --python ~/fw/bin/python

``--python`` has faster-whisper installed; its model is the Whisper of MODEL, converted by
``ct2-transformers-converter --quantization int8 --copy_files tokenizer.json preprocessor_config.json``. The audio is
joined and cut, or repeated, to each duration. The systems take turns, round by round, and the table holds medians.
CPU time is of all threads.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from transcribe import write_audio

OURS = """
import json, resource, sys, time
begin, settings = time.perf_counter(), json.loads(sys.argv[1])
import torch
from speechllm import load
torch.set_num_threads(settings["threads"])
beams = [f"decode.search.num_beams={settings['beams']}"]
model = load(settings["model"], device="cpu", overrides=beams, merge_lora=True, quantize=settings["quantize"])
def run(path):
    return model.transcribe(path, batch_size=8).text
"""
THEIRS = """
import json, resource, sys, time
begin, settings = time.perf_counter(), json.loads(sys.argv[1])
from faster_whisper import WhisperModel
model = WhisperModel(settings["ct2"], device="cpu", compute_type="int8", cpu_threads=settings["threads"])
def run(path):
    segments, _ = model.transcribe(path, language="en", beam_size=settings["beams"])
    return " ".join(segment.text for segment in segments)
"""
MEASURE = """
start, clock, before = time.perf_counter() - begin, time.perf_counter(), time.process_time()
words = len(run(settings["path"]).split())
wall, cpu = time.perf_counter() - clock, time.process_time() - before
print(json.dumps({"start-up": start, "wall": wall, "cpu": cpu, "words": words}))
"""
SYSTEMS = {
    "speechllm, float32": (OURS, {"beams": 1, "quantize": None}),
    "speechllm, int8": (OURS, {"beams": 1, "quantize": "int8"}),
    "faster-whisper, int8": (THEIRS, {"beams": 1}),
    "speechllm, float32, 4 beams": (OURS, {"beams": 4, "quantize": None}),
    "speechllm, int8, 4 beams": (OURS, {"beams": 4, "quantize": "int8"}),
    "faster-whisper, int8, 5 beams": (THEIRS, {"beams": 5}),
}


def main() -> None:
    """Measure in child processes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="trained experiment, packed directory or shipped model")
    parser.add_argument("audio", nargs="+", type=Path, help="recordings of speech")
    parser.add_argument("--ct2", required=True, help="the Whisper in CTranslate2's form")
    parser.add_argument("--python", default=sys.executable, help="Python with faster-whisper (this one)")
    parser.add_argument("--durations", type=int, nargs="+", default=[60, 600], help="s (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    args = parser.parse_args()
    systems = dict(SYSTEMS)
    if subprocess.run([args.python, "-c", "import faster_whisper"], capture_output=True, check=False).returncode != 0:
        print(f"{args.python} has no faster-whisper, so it is not measured; pip install faster-whisper==1.2.1")
        systems = {name: system for name, system in SYSTEMS.items() if system[0] is OURS}
    print("|audio|system|start-up (s)|real-time factor|CPU time / audio|words|\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for duration in args.durations:
            path = Path(folder) / f"{duration}.wav"
            write_audio(args.audio, path, duration)
            settings = {"model": args.model, "ct2": args.ct2, "path": str(path), "threads": args.threads}
            rounds = [
                {name: child(args.python, *one, settings) for name, one in systems.items()} for _ in range(args.rounds)
            ]
            for name in systems:
                row = {key: statistics.median(found[name][key] for found in rounds) for key in rounds[0][name]}
                figures = f"{row['wall'] / duration:.3f}|{row['cpu'] / duration:.3f}|{row['words']:.0f}"
                print(f"|{duration} s|{name}|{row['start-up']:.1f}|{figures}|", flush=True)


def child(python: str, program: str, options: dict[str, object], settings: dict[str, object]) -> dict[str, float]:
    """Measure one system in its own process."""
    command = [sys.executable if program is OURS else python, "-c", program + MEASURE, json.dumps(settings | options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


if __name__ == "__main__":
    main()

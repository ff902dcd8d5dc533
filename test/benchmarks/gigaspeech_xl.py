"""Time and memory of preparing, validating and splitting a corpus of the size of GigaSpeech XL, filled with silence.

    python test/benchmarks/gigaspeech_xl.py /tmp/xl                       # 38,131 recordings, 8.3 million segments

The paths are hard links, so checksums are computed for the same number of files, but of small ones.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

SEGMENT = 4.3  # seconds, in the mean
TEXT = "AS THEY'RE LEAVING <COMMA> CAN KASH PULL ZAHRA ASIDE REALLY QUICKLY <QUESTIONMARK>"


def main() -> None:
    """Write the corpus if it is missing, prepare it, and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recordings", type=int, default=38_131)
    parser.add_argument("--segments", type=int, default=217, help="of each recording")
    args = parser.parse_args()
    corpus = args.folder / "GigaSpeech"
    if not (corpus / "GigaSpeech.json").is_file():
        make(corpus, args.recordings, args.segments)
    print(f"{(corpus / 'GigaSpeech.json').stat().st_size / 1e9:.2f} GB of JSON")
    data = args.folder / "data"
    script = "import sys; from pathlib import Path; from speechllm.corpora import gigaspeech as corpus; "
    script += "corpus.prepare(Path(sys.argv[1]), Path(sys.argv[2]), ['xl'])"
    measure("prepare", ["-c", script, str(corpus), str(data)])
    measure("validate", ["-m", "speechllm", "validate", str(data / "xl")])
    script = "import sys; from speechllm.data.dump import read_contents; read_contents(sys.argv[1]).share(8, 1)"
    measure("share of one of 8 jobs of the dump", ["-c", script, str(data / "xl")])


def make(corpus: Path, recordings: int, segments: int) -> None:
    """Write the JSON and the files."""
    first = corpus / "audio/podcast/first.opus"
    first.parent.mkdir(parents=True)
    samples_N = np.zeros(round((segments + 1) * SEGMENT * 16_000))
    soundfile.write(first, samples_N, 16_000, format="OGG", subtype="OPUS")
    md5 = hashlib.md5(first.read_bytes()).hexdigest()
    sets = ["{XL}"]
    with (corpus / "unfinished").open("w") as file:
        file.write('{"dataset": "GigaSpeech", "audios": [\n')
        for k in range(recordings):
            aid = f"POD{k * 7919 % recordings:010d}"  # not in order
            path = corpus / f"audio/podcast/P{k // 1000:04d}/{aid}.opus"
            path.parent.mkdir(exist_ok=True)
            os.link(first, path)
            parts = [
                {
                    "sid": f"{aid}_S{i:07d}",
                    "speaker": "N/A",
                    "begin_time": round(i * SEGMENT, 2),
                    "end_time": round((i + 1) * SEGMENT, 2),
                    "text_tn": TEXT,
                    "subsets": sets,
                }
                for i in range(segments)
            ]
            entry = {"aid": aid, "path": str(path.relative_to(corpus)), "md5": md5, "subsets": sets, "segments": parts}
            file.write(f"{',' * (k > 0)}{json.dumps(entry)}\n")
        file.write("]}\n")
    (corpus / "unfinished").rename(corpus / "GigaSpeech.json")


def measure(what: str, arguments: list[str]) -> None:
    """Run Python, and print its time and peak memory."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{what}: failed")
    print(f"{what}: {time.perf_counter() - start:.0f} s, {usage.ru_maxrss / 2**20:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()

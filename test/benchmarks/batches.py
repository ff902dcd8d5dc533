"""Number of hypotheses that change with the batch: batches of one, of eight, and of eight in random order.

    python test/benchmarks/batches.py MODEL data/dev_clean data/test_other

In float32, from the audio. A row has the number of utterances with another text than in a batch of one; it should be 0.
"""

import argparse
import random
import time

from speechllm import load
from speechllm.data.audio.read import read_audio
from speechllm.data.kaldi.data_dir import read_data_dir


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="trained experiment, packed directory or shipped model")
    parser.add_argument("data_dirs", nargs="+", help="data directories of test sets")
    args = parser.parse_args()
    model = load(args.model, overrides=["decode.dtype=float32"], merge_lora=True)
    rate = model.frontend.sample_rate
    print("|set|batches|utterances|other text|real-time factor|\n|---|---|---|---|---|")
    for path in args.data_dirs:
        utts = read_data_dir(path).utts
        audio = [(read_audio(utt.path, rate, utt.start, utt.end), rate) for utt in utts]
        in_order = list(range(len(utts)))
        shuffled = random.Random(1).sample(in_order, len(in_order))
        alone: dict[int, str] = {}
        for name, batch_size, order in (("1", 1, in_order), ("8", 8, in_order), ("8, shuffled", 8, shuffled)):
            begin = time.perf_counter()
            results = model.transcribe_all([audio[place] for place in order], batch_size=batch_size)
            factor = (time.perf_counter() - begin) / sum(utt.duration for utt in utts)
            texts = {place: result.text for place, result in zip(order, results, strict=True)}
            alone = alone or texts
            other = sum(texts[place] != alone[place] for place in alone)
            print(f"|{path}|{name}|{len(utts)}|{other}|{factor:.3f}|", flush=True)


if __name__ == "__main__":
    main()

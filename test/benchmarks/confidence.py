"""Confidence of a connector's CTC head on speech and on non-speech.

    speechllm make_non_speech data/non_speech
    python test/benchmarks/confidence.py MODEL data/non_speech data/dev_clean data/test_other

The confidence is compared with ``decode.search.ctc_confidence``. For sets without transcripts the words of hypotheses
are counted, with a threshold of 0 and with that of the model.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch

from speechllm import load
from speechllm.api import Model
from speechllm.data.audio.read import read_audio
from speechllm.data.batch import Collate
from speechllm.data.dataset import example_of
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.models.ctc import confidence

RATE = 16000


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="trained experiment, packed directory or shipped model")
    parser.add_argument("data_dirs", nargs="+", type=Path, help="data directories")
    args = parser.parse_args()
    model = load(args.model, merge_lora=True)
    heedless = load(args.model, overrides=["decode.search.ctc_confidence=0"], merge_lora=True)
    print("|set|utterances|least|median|most|words, whatever CTC says|words|\n|---|---|---|---|---|---|---|")
    for path in args.data_dirs:
        utts = read_data_dir(path, need_text=False).utts
        audio = [read_audio(utt.path, RATE, utt.start, utt.end) for utt in utts]
        sure = [confidence_of(model, samples_N) for samples_N in audio]
        has_text = (path / "text").exists()
        words = ["", ""] if has_text else [str(words_of(one, audio)) for one in (heedless, model)]
        figures = f"{min(sure):.2f}|{statistics.median(sure):.2f}|{max(sure):.2f}"
        print(f"|{path.name}|{len(utts)}|{figures}|{'|'.join(words)}|", flush=True)


@torch.inference_mode()
def confidence_of(model: Model, samples_N: np.ndarray) -> float:
    """Return the confidence, which decoding compares with ``ctc_confidence``."""
    batch = Collate(encoded=False)([example_of(samples_N, model.frontend)])
    posteriors = model.speech_llm.connect(batch).posteriors
    assert posteriors is not None, "the connector has no CTC head"
    return confidence(posteriors).item()


def words_of(model: Model, audio: list[np.ndarray]) -> int:
    """Return the number of words of the hypotheses."""
    results = model.transcribe_all([(samples_N, RATE) for samples_N in audio], batch_size=8)
    return sum(len(result.text.split()) for result in results)


if __name__ == "__main__":
    main()

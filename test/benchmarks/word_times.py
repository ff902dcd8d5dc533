"""Error of word times on utterances with silences of known length around them.

    python test/benchmarks/word_times.py base-smollm2-ctc DATA...

Two utterances of a data directory and three silences of 0.6 s make a recording, whose posteriors are aligned with the
transcripts. The first word of an utterance should begin where its speech does, the last end with it. Speech is bounded
by energy: frames of 10 ms above the mean of the 5th and the 95th percentile of their level in dB. Background noise
moves these bounds, so medians mean more than means.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch

from speechllm import load
from speechllm.data.audio.read import read_audio
from speechllm.data.batch import Collate
from speechllm.data.dataset import change_case, example_of
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.models.word_times import align_words

SILENCE = 0.6
LONGEST = 28.0
RATE = 16000
FRAME = RATE // 100


def main() -> None:
    """Print a table of errors in milliseconds for each data directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="trained model whose connector has a CTC head")
    parser.add_argument("data", nargs="+", type=Path, help="data directories")
    args = parser.parse_args()
    model = load(args.model, merge_lora=True)
    print("|data|utterances|of|median|median absolute|90% absolute|\n|---|---|---|---|---|---|")
    for data in args.data:
        utts = read_data_dir(data).utts
        errors: tuple[list[float], list[float]] = ([], [])
        for first, second in zip(utts[::2], utts[1::2], strict=False):
            parts = [_speech(read_audio(utt.path, RATE, utt.start, utt.end)) for utt in (first, second)]
            if sum(map(len, parts)) < LONGEST * RATE:
                case = model.config.data.transcript
                texts = [change_case(utt.text or "", case) for utt in (first, second)]
                for start, end in _errors(model, parts, texts):
                    errors[0].append(start)
                    errors[1].append(end)
        for name, found in zip(("start", "end"), errors, strict=True):
            sizes = [abs(one) for one in found]
            cells = (statistics.median(found), statistics.median(sizes), float(np.percentile(sizes, 90)))
            print(f"|{data.name}|{len(found)}|{name}|" + "|".join(f"{cell:.0f} ms" for cell in cells) + "|", flush=True)


@torch.inference_mode()
def _errors(model, parts: list[np.ndarray], texts: list[str]) -> list[tuple[float, float]]:  # type: ignore[no-untyped-def]
    """Return the errors of start and end of each utterance in a recording (ms)."""
    silence_N = np.zeros(round(SILENCE * RATE), np.float32)
    samples_N = np.concatenate([silence_N, *(one for part in parts for one in (part, silence_N))])
    batch = Collate(encoded=False)([example_of(samples_N, model.frontend)]).to(model.device)
    posteriors = model.speech_llm.connect(batch).posteriors
    duration = posteriors.stack / model.speech_llm.encoder.frame_rate
    words = align_words(" ".join(texts), posteriors.log_probs_BMC[0], posteriors.subwords, duration)
    found, begin = [], SILENCE
    for part, text in zip(parts, texts, strict=True):
        mine, words = words[: len(text.split())], words[len(text.split()) :]
        end = begin + len(part) / RATE
        if mine[0].start is not None and mine[-1].end is not None:
            found.append((1000 * (mine[0].start - begin), 1000 * (mine[-1].end - end)))
        begin = end + SILENCE
    return found


def _speech(samples_N: np.ndarray) -> np.ndarray:
    """Return samples without the background noise before and behind the speech."""
    power_T = np.square(samples_N[: len(samples_N) // FRAME * FRAME].reshape(-1, FRAME)).mean(1)
    level_T = 10 * np.log10(np.convolve(power_T, np.full(3, 1 / 3), "same") + 1e-12)
    speech = np.flatnonzero(level_T > np.percentile(level_T, [5, 95]).mean())
    return samples_N[speech[0] * FRAME : (speech[-1] + 1) * FRAME]


if __name__ == "__main__":
    main()

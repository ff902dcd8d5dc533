"""Error of word times before and after pauses of synthesised speech, whose phones have known times.

    python test/benchmarks/word_times.py base-smollm2-whisper-ctc [MODEL...]

Three voices of the program flite speak three phrases in each recording. The posteriors are aligned with the text. The
first word of a phrase should begin with its first phone, the last word should end with its last one; its end on the
CTC path alone is shown, too. White noise of 20 dB SNR is added in the second half of the rows of a model.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from speechllm import load
from speechllm.api import Model
from speechllm.data.audio.read import read_audio
from speechllm.data.batch import Collate
from speechllm.data.dataset import Example, change_case, example_of
from speechllm.interfaces import TimedWord
from speechllm.models.word_times import align_words, extend_words

VOICES = ("slt", "rms", "awb")
RATE = 16000
SNR = 20  # dB
PHRASES = """
the rain stopped, we walked down to the harbour, most of the ships had gone
a single boat was left, its captain waved at us, nobody answered him
the light over the water was weak, we counted eleven gulls, one of them was asleep
my brother took off his hat, it fell into the sea, the wind carried it off
later we found a small house, its windows were open, an old woman gave us bread
she asked for the news, we told her what we had seen, she laughed for a long time
the road back was steep, our lamps went out twice, a dog followed us home
it slept behind the stove, in the morning it was gone, we never saw it again
""".strip().splitlines()
Phrase = tuple[str, float, float]
"""Text, start and end (seconds)."""


def main() -> None:
    """Print a table of errors in milliseconds for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="trained models whose connectors have a CTC head")
    args = parser.parse_args()
    recordings = list(_recordings())
    print("|model|noise|of|number|median|median absolute|90% absolute|\n|---|---|---|---|---|---|---|")
    for name in args.models:
        model = load(name, merge_lora=True)
        for noise in (False, True):
            errors = np.concatenate([_errors(model, *one, noise=noise) for one in recordings])
            for of, found in zip(("start", "end", "end of CTC alone"), errors.T, strict=True):
                cells = (np.median(found), np.median(np.abs(found)), np.percentile(np.abs(found), 90))
                row = (name, f"{SNR} dB" if noise else "", of, len(found), *(f"{cell:.0f} ms" for cell in cells))
                print("|" + "|".join(map(str, row)) + "|", flush=True)


def _recordings() -> Iterator[tuple[np.ndarray, list[Phrase]]]:
    """Yield the samples and the phrases of each recording whose pauses are between the phrases."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        for voice in VOICES:
            for text in PHRASES:
                command = ["flite", "-voice", voice, "-psdur", "-t", f"{text}.", "-o", str(path)]
                phones = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                bounds, texts = _between_pauses(phones), text.split(", ")
                if len(bounds) == len(texts):
                    phrases = [(one, *times) for one, times in zip(texts, bounds, strict=True)]
                    yield read_audio(path, RATE), phrases


def _between_pauses(phones: list[str]) -> list[tuple[float, float]]:
    """Return start and end of the speech between pauses, given ``phone:end`` of each phone and pause."""
    bounds: list[tuple[float, float]] = []
    before, start = "pau", 0.0
    for one in phones:
        phone, end = one.split(":")
        if phone != "pau":
            bounds = [*bounds, (start, float(end))] if before == "pau" else [*bounds[:-1], (bounds[-1][0], float(end))]
        before, start = phone, float(end)
    return bounds


@torch.inference_mode()
def _errors(model: Model, samples_N: np.ndarray, phrases: list[Phrase], *, noise: bool) -> list[list[float]]:
    """Return the errors of start, end, and end on the CTC path of each phrase of a recording (ms)."""
    if noise:
        power = np.square(samples_N).mean() / 10 ** (SNR / 10)
        samples_N = samples_N + np.float32(power**0.5) * np.random.default_rng(0).standard_normal(
            len(samples_N), np.float32
        )
    example = example_of(samples_N, model.frontend)
    aligned = _aligned(model, example, " ".join(text for text, _, _ in phrases))
    extended = extend_words(aligned, model.frontend.levels(example.inputs_TF))
    found, first = [], 0
    for text, start, end in phrases:
        last = first + len(text.split()) - 1
        times = (extended[first].start, start), (extended[last].end, end), (aligned[last].end, end)
        found.append([1000 * (one - true) for one, true in times if one is not None])
        first = last + 1
    return found


def _aligned(model: Model, example: Example, text: str) -> list[TimedWord]:
    """Return the words of a text with their times on the CTC path of an utterance."""
    assert model.speech_llm.encoder is not None
    posteriors = model.speech_llm.connect(Collate(encoded=False)([example]).to(model.device)).posteriors
    assert posteriors is not None, "the connector has no CTC head"
    duration = posteriors.stack / model.speech_llm.encoder.frame_rate
    states_M = None if posteriors.states_BM is None else posteriors.states_BM[0].tolist()
    text = change_case(text, model.config.data.transcript)
    return align_words(text, posteriors.log_probs_BMC[0], posteriors.subwords, duration, states_M)


if __name__ == "__main__":
    main()

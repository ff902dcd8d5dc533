"""Word error rates on clean, noisy, reverberant, codec-compressed and telephone test sets, compared with Whisper.

    python test/benchmarks/hard_speech.py MODEL data/dev_clean --whisper downloads/models/whisper-base.en

``speechllm augment`` writes the augmented copies next to the sets; an empty ``--conditions`` writes none. All from the
audio, in float32; the model searches as its configuration says, Whisper greedily.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from speechllm import load
from speechllm.data.audio.read import read_audio
from speechllm.data.derive.augment import Augmentation, augment
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.inference.whisper_baseline import WhisperBaseline
from speechllm.score.directory import score_files
from speechllm.score.normalize import normalizer

RATE = 16000
CONDITIONS = {
    "noisy": Augmentation(snr=(5, 20)),
    "reverberant": Augmentation(reverberation=(0.2, 0.8)),
    "codec": Augmentation(codecs=("mp3", "vorbis", "opus")),
    "telephone": Augmentation(codecs=("gsm", "ulaw")),
}
Recognize = Callable[[list[np.ndarray]], list[str]]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="trained experiment, packed directory or shipped model")
    parser.add_argument("data_dirs", nargs="+", type=Path, help="data directories of test sets")
    parser.add_argument("--whisper", nargs="*", default=[], help="whole Whisper models to compare with")
    parser.add_argument("--conditions", nargs="*", default=[*CONDITIONS], choices=CONDITIONS, help="(all)")
    parser.add_argument("--batch_size", type=int, default=8, help="(%(default)s)")
    args = parser.parse_args()
    recognizers = {args.model: ours(args.model, args.batch_size)}
    recognizers |= {Path(path).name: whisper(path, args.batch_size) for path in args.whisper}
    print("|set|" + "|".join(recognizers) + "|\n|---|" + "---|" * len(recognizers))
    for data_dir in args.data_dirs:
        sets = [data_dir]
        for name in args.conditions:
            sets.append(data_dir.with_name(f"{data_dir.name}_{name}"))
            augment(data_dir, sets[-1], CONDITIONS[name], name)
        for path in sets:
            cells = [score(path, recognize) for recognize in recognizers.values()]
            print(f"|{path.name}|" + "|".join(cells) + "|", flush=True)


def ours(model: str, batch_size: int) -> Recognize:
    """Return a recogniser of waveforms with this library."""
    loaded = load(model, overrides=["decode.dtype=float32"], merge_lora=True)

    def recognize(samples: list[np.ndarray]) -> list[str]:
        results = loaded.transcribe_all([(samples_N, RATE) for samples_N in samples], batch_size=batch_size)
        return [result.text for result in results]

    return recognize


def whisper(path: str, batch_size: int) -> Recognize:
    """Return a recogniser of waveforms with Whisper's own decoder."""
    loaded = WhisperBaseline(path, torch.device("cpu"))

    def recognize(samples: list[np.ndarray]) -> list[str]:
        starts = range(0, len(samples), batch_size)
        return [one.text for start in starts for one in loaded.transcribe_all(samples[start : start + batch_size])]

    return recognize


def score(data_dir: Path, recognize: Recognize) -> str:
    """Return the word error rate with its interval."""
    utts = read_data_dir(data_dir).utts
    texts = recognize([read_audio(utt.path, RATE, utt.start, utt.end) for utt in utts])
    with tempfile.TemporaryDirectory() as folder:
        hyp = Path(folder) / "text"
        lines = [f"{utt.utt_id} {text}".rstrip() + "\n" for utt, text in zip(utts, texts, strict=True)]
        hyp.write_text("".join(lines), encoding="utf-8")
        summary = score_files(data_dir / "text", hyp, normalizer("librispeech")).summary
    low, high = summary.wer.interval
    return f"{summary.wer.counts.percentages[4]:.1f} ({low:.1f}-{high:.1f})"


if __name__ == "__main__":
    main()

"""Synthesise a mini corpus of short commands in the layout of the 2000 HUB5 evaluation, with possible errors.

    python tools/make_mini_eval2000.py downloads/mini_eval2000

writes OUT/hub5/speech/*.sph, conversations of two channels (mu-law, 8 kHz), and OUT/hub5/reference with their segments
(STM) and the global mapping (GLM): the test set of make_mini_librispeech.py, ten utterances on each channel, with half
of the conversations named as CallHome's, half as Switchboard's. The references have alternatives, hesitations,
fragments and a segment that is not scored. The errors are a short line, reversed times, a segment beyond the end, an
overlapping segment, a truncated conversation and a missing conversation. A complete corpus is kept.
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import mini_corpus
import numpy as np
import soundfile
from speak_corpus import resample

RATE = 8_000  # Hz
PAUSE = 0.4  # seconds
ON_A_CHANNEL = 10  # utterances
LABELS = {"en": "<O,CallHome>", "sw": "<O,Switchboard>"}
GLM = """;; Global mapping of the mini corpus
* name "mini"
ILL => I'LL / [ ] __ [ ]
UH => (%HESITATION) / [ ] __ [ ]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus; return the exit status."""
    return mini_corpus.make(argv, __doc__, "hub5", convert)


def convert(source: Path, target: Path) -> None:
    """Convert the test set in LibriSpeech's layout to telephone conversations."""
    speech = target / "speech"
    reference = target / "reference"
    speech.mkdir()
    reference.mkdir()
    test = (utt for utt in mini_corpus.spoken(source) if utt.subset == "test")
    by_speaker = itertools.groupby(test, lambda utt: utt.speaker)
    channels = [batch for _, utts in by_speaker for batch in mini_corpus.batches(utts, ON_A_CHANNEL)]
    lines = [';; CATEGORY "0" "" ""']
    pairs = list(zip(channels[::2], channels[1::2], strict=False))
    for number, pair in enumerate(pairs):
        corpus = ("en", "sw")[number % 2]
        lines += write_conversation(speech, f"{corpus}_{4000 + number}", pair, LABELS[corpus])
    lines += flaws(speech, lines)
    (reference / "hub5e00.english.mini.stm").write_text("\n".join(lines) + "\n", encoding="ascii")
    (reference / "en_mini_hub5.glm").write_text(GLM, encoding="ascii")


def write_conversation(
    folder: Path, name: str, channels: Sequence[Sequence[mini_corpus.Spoken]], labels: str
) -> list[str]:
    """Write a conversation of two channels with alternating speakers; return its lines of the STM file."""
    lines: list[str] = []
    place, parts = PAUSE, []
    for utterances in itertools.zip_longest(*channels):
        for channel, utt in zip("AB", utterances, strict=True):
            if utt is None:
                continue
            samples_N, rate = soundfile.read(utt.audio)
            parts.append((channel, round(place * RATE), resample(samples_N, RATE / rate)))
            end = place + len(samples_N) / rate
            text = marked(utt.text, len(lines))
            lines.append(f"{name} {channel} {name}_{channel} {place:.2f} {end:.2f} {labels} {text}")
            place = end + PAUSE
    samples_NC = np.zeros((round(place * RATE), 2))
    for channel, first, samples_N in parts:
        samples_NC[first : first + len(samples_N), "AB".index(channel)] = samples_N
    soundfile.write(folder / f"{name}.sph", samples_NC, RATE, format="NIST", subtype="ULAW")
    return lines


def marked(text: str, number: int) -> str:
    """Return a transcript; some get marks as in the real corpus."""
    words = text.split()
    kinds = {
        1: ["(%HESITATION)", *words],
        2: ["{", words[0], "/", "UH", words[0], "}", *words[1:]],
        3: [*words, f"({words[-1][0]}-)"],
    }
    return " ".join(kinds.get(number % 10, words))


def flaws(folder: Path, lines: Sequence[str]) -> list[str]:
    """Write two more, invalid conversations; return invalid lines of the STM file, and one that is not scored."""
    first = lines[1].split()
    name, channel, speaker, begin, end = first[:5]
    whole = (folder / f"{name}.sph").read_bytes()
    (folder / "en_5000.sph").write_bytes(whole[: len(whole) // 2])
    return [
        f"{name} {channel} {speaker} 0.00 {begin} <O,CallHome> IGNORE_TIME_SEGMENT_IN_SCORING",
        f"{name} {channel} {speaker}",
        f"{name} {channel} {speaker} {end} {begin} <O,CallHome> REVERSED",
        f"{name} {channel} {speaker} 9000.00 9001.00 <O,CallHome> BEYOND THE END",
        f"{name} {channel} {speaker} {float(begin) + 0.1:.2f} {end} <O,CallHome> ON TOP OF ANOTHER",
        f"en_5000 A en_5000_A {begin} {end} <O,CallHome> IN A FILE THAT IS CUT",
        f"en_5001 A en_5001_A {begin} {end} <O,CallHome> IN NO FILE",
    ]


if __name__ == "__main__":
    sys.exit(main())

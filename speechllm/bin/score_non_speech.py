"""Count hallucinated words on non-speech, by kind of sound."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("hyp", metavar="HYP", type=Path, help="hypotheses of a non-speech set, e.g. a Kaldi text file")
    parser.add_argument("utt2dur", metavar="UTT2DUR", type=Path, help="durations (seconds)")
    parser.add_argument("out", metavar="OUT", nargs="?", type=Path, help="directory to write non_speech.md to")


def run(args: argparse.Namespace) -> int | None:
    """Print the table and write it to OUT."""
    from speechllm.score.directory import write_whole
    from speechllm.score.non_speech import TABLE, score_non_speech

    table = score_non_speech(args.hyp, args.utt2dur)
    print(table, end="")
    if args.out is not None:
        write_whole(args.out / TABLE, table)
    return None

"""Score the decoded sets of an experiment, into EXP/decode/SET/score.

A set with ref.stm is scored by recording with its GLM, a non-speech set by the number of recognised words, any other
set with a text normaliser.
"""

import argparse
from pathlib import Path

from speechllm.bin._sets import add_inference_config, add_sets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--normalizer",
        default="none",
        help="none, librispeech, gigaspeech, whisper-english, whisper-basic or english (%(default)s)",
    )
    add_inference_config(parser)
    parser.add_argument("--baseline", action="store_true", help="also score the hypotheses of speechllm baseline")
    parser.add_argument("exp", metavar="EXP", type=Path, help="experiment directory")
    add_sets(parser)


def run(args: argparse.Namespace) -> None:
    """Score the sets and print the tables."""
    from speechllm.data.derive.sets import locate
    from speechllm.report.score_sets import score_sets

    tag = args.inference_config.stem if args.inference_config else ""
    print(score_sets(locate(args.sets, args.data), args.exp, tag, args.normalizer), end="")
    if args.baseline:
        plain = locate(args.sets, args.data, shuffled=False)
        print(f"\n{score_sets(plain, args.exp / 'baseline', '', args.normalizer)}", end="")

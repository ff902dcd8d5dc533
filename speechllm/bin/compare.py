"""Compare two experiments, or two score directories, by significance tests and by utterance.

For each set scored in both, print the difference of the error rates (WER or CER) with its bootstrap interval and
the two-tailed matched-pair test (MAPSSWE, as in NIST's sc_stats); p below 0.05 is commonly called significant.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("first", metavar="A", type=Path, help="experiment, e.g. exp/<name>, or a score directory")
    parser.add_argument("second", metavar="B", type=Path, help="experiment or score directory to compare with A")
    parser.add_argument(
        "--show",
        type=int,
        default=3,
        metavar="N",
        help="utterances with the largest change to show per set (%(default)s)",
    )


def run(args: argparse.Namespace) -> int | None:
    """Print the comparison."""
    from speechllm.report.compare import compare

    print(compare(args.first, args.second, args.show), end="")
    return None

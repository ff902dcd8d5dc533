"""Compare two experiments, or two score directories, by significance tests and by utterance.

For each set that both have scored: the difference of the word error rates with its bootstrap interval,
and the matched-pair test (MAPSSWE, as NIST's sc_stats), two-tailed; p below 0.05 is commonly called significant.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("first", metavar="A", type=Path, help="experiment, e.g. exp/<name>, or a score directory")
    parser.add_argument("second", metavar="B", type=Path, help="the other one")
    parser.add_argument(
        "--show",
        type=int,
        default=3,
        metavar="N",
        help="show the N utterances of each set that changed most (%(default)s)",
    )


def run(args: argparse.Namespace) -> int | None:
    """Print the comparison."""
    from speechllm.report.compare import compare

    print(compare(args.first, args.second, args.show), end="")
    return None

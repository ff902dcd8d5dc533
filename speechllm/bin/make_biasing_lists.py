"""Write a data directory with a biasing list for each utterance: its rare words and distractors.

Rare words are all but the most frequent words of the training transcripts (arXiv 2104.02194).
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.derive.biasing_lists import make_biasing_lists
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write")
    parser.add_argument(
        "--train", type=Path, nargs="+", required=True, metavar="DATA", help="data directories of training transcripts"
    )
    parser.add_argument(
        "--common", type=int, default=5000, help="number of most frequent words that are not listed (%(default)s)"
    )
    parser.add_argument("--distractors", type=int, default=100, help="distractors per list (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")


def run(args: Namespace) -> None:
    """Write the lists."""
    options = {"common": args.common, "distractors": args.distractors, "seed": args.seed}
    make_biasing_lists(args.source, args.target, args.train, **options)
    print(f"{args.target}: {validate_data_dir(args.target)}")

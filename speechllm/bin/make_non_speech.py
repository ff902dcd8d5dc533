"""Write a data directory of silence, synthetic noise and hum, for training or testing."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.derive.non_speech import KINDS, NOISES, make_non_speech
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", type=Path, help="data directory to write, e.g. data/non_speech")
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")
    parser.add_argument(
        "--train", type=int, default=0, metavar="N", help="for training: N pieces of each kind, with empty transcripts"
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=NOISES,
        metavar="KIND",
        help=f"of {' '.join(KINDS)} ({' '.join(NOISES)})",
    )


def run(args: Namespace) -> None:
    """Write and validate the directory."""
    make_non_speech(args.target, args.seed, args.train, args.kinds)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=False)}")

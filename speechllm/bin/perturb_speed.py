"""Write a copy of a data directory at another speed."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.derive.speed import perturb_speed
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write")
    parser.add_argument(
        "--factor", type=float, required=True, help="speed: 0.9 is slower and lower, 1.1 faster and higher"
    )


def run(args: Namespace) -> None:
    """Write and validate the copy."""
    perturb_speed(args.source, args.target, args.factor)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")

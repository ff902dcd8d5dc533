"""Concatenate neighbouring utterances of a data directory, in the order of their ids."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.derive.concatenate import concatenate_data_dir
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write; audio in TARGET_audio")
    parser.add_argument(
        "--duration", type=float, required=True, metavar="SECONDS", help="maximum duration of a concatenation"
    )
    parser.add_argument(
        "--silence", type=float, default=0.1, metavar="SECONDS", help="silence between utterances (%(default)s)"
    )


def run(args: Namespace) -> None:
    """Concatenate and validate."""
    concatenate_data_dir(args.source, args.target, args.duration, args.silence)
    print(f"{args.target}: {validate_data_dir(args.target)}")

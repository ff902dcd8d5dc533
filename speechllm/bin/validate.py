"""Validate data directories and list their errors; the exit status is 1 if there are any."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("dirs", nargs="+", type=Path, metavar="DIR", help="data directory")
    parser.add_argument("--no_text", action="store_true", help="allow missing transcripts")
    parser.add_argument("--open_audio", action="store_true", help="open every audio file and compare its duration")


def run(args: Namespace) -> int:
    """Validate every directory, including those after an invalid one."""
    status = 0
    for path in args.dirs:
        try:
            print(f"{path}: {validate_data_dir(path, not args.no_text, args.open_audio)}")
        except DataError as error:
            print(f"speechllm validate: {error}", file=sys.stderr)
            status = 1
    return status

"""Combine data directories into one; duplicate utterance ids are an error."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.kaldi.subset import combine_data_dirs
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write")
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="data directory")


def run(args: Namespace) -> None:
    """Combine the directories."""
    combine_data_dirs(args.sources, args.target)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")

"""Sort data directories and drop unusable utterances, listed in DIR/dropped; the originals go to DIR/.backup*."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.kaldi.fix import fix_data_dir
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("dirs", nargs="+", type=Path, metavar="DIR", help="data directory")


def run(args: Namespace) -> None:
    """Fix and validate each directory."""
    for path in [path.absolute() for path in args.dirs]:  # the working directory may be replaced
        dropped = fix_data_dir(path)
        summary = validate_data_dir(path, need_text=(path / "text").exists())
        print(f"{path}: dropped {len(dropped)} utterances, kept {summary}")

"""Arguments of the verbs that process sets in parallel jobs."""

import argparse
from pathlib import Path

from speechllm.errors import UsageError


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Declare the sets, and --data, the parent of their data directories."""
    parser.add_argument("--data", type=Path, default=Path("data"), help="parent of the data directories (%(default)s)")
    text = "name of a set or derived set (see speechllm derive), or a data directory"
    parser.add_argument("sets", nargs="+", metavar="SET", help=text)


def add_dump(parser: argparse.ArgumentParser) -> None:
    """Declare --dump, the parent of the dumps."""
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="parent of the dumps (%(default)s)")


def add_inference_config(parser: argparse.ArgumentParser) -> None:
    """Declare --inference_config; its file name becomes part of the names of results."""
    parser.add_argument("--inference_config", type=Path, help="YAML that replaces the decode section")


def add_jobs(parser: argparse.ArgumentParser, without: str) -> None:
    """Declare --nj and --job; ``without`` describes a run without --job."""
    parser.add_argument("--nj", type=_positive, default=1, help="number of jobs")
    parser.add_argument("--job", type=_positive, help=f"job to run, from 1 to --nj; without it, {without}")


def check_jobs(args: argparse.Namespace) -> None:
    """Check that --job is not larger than --nj.

    Raises:
        UsageError: if it is.
    """
    if args.job is not None and args.job > args.nj:
        raise UsageError(f"--job: found {args.job}, expected 1 to {args.nj}, the number of jobs (--nj)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected 1 or more")
    return number

"""Arguments that several verbs share."""

import argparse
import re
from pathlib import Path

import yaml

from speechllm.errors import UsageError

_NEXT_KEY = re.compile(r"(\s+)(?=[A-Za-z_]\w*(?:\.\w+)*=)")


def add_set(parser: argparse.ArgumentParser, text: str = "overrides of the YAML; may be repeated") -> None:
    """Declare --set, which gives a list of ``section.key=value``."""
    parser.add_argument("--set", action="extend", type=split_overrides, default=[], metavar="KEY=VALUE", help=text)


def add_config(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Declare --config, --set and --trust_components, the arguments of ``read_config``."""
    parser.add_argument("--config", required=required, help="experiment YAML, or a trained model")
    add_set(parser)
    add_trust(parser)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Declare --trust_components."""
    parser.add_argument(
        "--trust_components", action="store_true", help="import modules outside speechllm that the model names"
    )


def add_sets(parser: argparse.ArgumentParser) -> None:
    """Declare the sets, and --data, the directory of their data directories."""
    parser.add_argument("--data", type=Path, default=Path("data"), help="where data directories are (%(default)s)")
    text = "name of a set, also of a derived one (see speechllm derive), or path of a data directory"
    parser.add_argument("sets", nargs="+", metavar="SET", help=text)


def add_dump(parser: argparse.ArgumentParser) -> None:
    """Declare --dump, the directory of the dumps."""
    parser.add_argument("--dump", type=Path, default=Path("dump"), help="where dumps are (%(default)s)")


def add_inference_config(parser: argparse.ArgumentParser) -> None:
    """Declare --inference_config, whose file's name becomes part of the names of results."""
    parser.add_argument("--inference_config", type=Path, help="YAML of another decode section")


def add_jobs(parser: argparse.ArgumentParser, without: str) -> None:
    """Declare --nj and --job; ``without`` is the help on running without --job."""
    parser.add_argument("--nj", type=_positive, default=1, help="number of jobs")
    parser.add_argument("--job", type=_positive, help=f"job to run, from 1 to --nj; without it, {without}")


def check_jobs(args: argparse.Namespace) -> None:
    """Check that the job is one of the jobs.

    Raises:
        UsageError: if it is not.
    """
    if args.job is not None and args.job > args.nj:
        raise UsageError(f"--job: found {args.job}, expected 1 to {args.nj}, the number of jobs (--nj)")


def split_overrides(text: str) -> list[str]:
    """Return the overrides in ``text``: one, or several with spaces between.

    A value may have spaces too: it goes on until the next ``key=`` outside its quotes and brackets.
    """
    first, *rest = _NEXT_KEY.split(text.strip())
    found = [first] if first else []
    for space, part in zip(rest[::2], rest[1::2], strict=True):
        if _is_whole(found[-1]):
            found.append(part)
        else:
            found[-1] += space + part
    return found


def _is_whole(override: str) -> bool:
    try:
        yaml.safe_load(override.partition("=")[2])
    except yaml.YAMLError:
        return False
    return True


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected 1 or more")
    return number

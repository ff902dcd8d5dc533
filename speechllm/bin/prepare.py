"""Write a Kaldi data directory DATA/SET for each set of a corpus, and validate it.

What cannot be used is listed in DATA/SET/dropped; if there is such, the exit status is 3.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.corpora._prepare import check_request
from speechllm.data.kaldi.dropped import status
from speechllm.data.kaldi.target import check_apart
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.registry import available, component_module


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("corpus", metavar="CORPUS", help=f"one of {', '.join(available('corpora'))}")
    parser.add_argument("root", metavar="ROOT", help="folder of the corpus")
    parser.add_argument("data", metavar="DATA", type=Path, help="where the data directories go")
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="names such as dev_clean")


def run(args: Namespace) -> int:
    """Prepare what is asked for."""
    corpus = component_module("corpora", args.corpus)
    root = check_request(corpus, args.root, args.sets)
    for name in args.sets:
        check_apart(args.data / name, root)
    corpus.prepare(root, args.data, args.sets)
    for name in args.sets:
        print(f"{args.data / name}: {validate_data_dir(args.data / name)}")
    return status(args.data / name for name in args.sets)

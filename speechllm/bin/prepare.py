"""Write a Kaldi data directory DATA/SET for each set of a corpus, and validate it.

What cannot be used is listed in DATA/SET/dropped; if there is such, the exit status is 3.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.corpora._prepare import check_request
from speechllm.data.derive.sets import corpus_sets
from speechllm.data.kaldi.dropped import status
from speechllm.data.kaldi.target import check_apart
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.registry import available, component_module


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("corpus", metavar="CORPUS", help=f"one of {', '.join(available('corpora'))}")
    parser.add_argument("root", metavar="ROOT", help="folder of the corpus")
    parser.add_argument("data", metavar="DATA", type=Path, help="where the data directories go")
    text = "names such as dev_clean; for a derived set (see speechllm derive), its source"
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help=text)


def run(args: Namespace) -> int:
    """Prepare what is asked for."""
    corpus = component_module("corpora", args.corpus)
    sets = corpus_sets(args.sets, lambda name: corpus.has_set(Path(args.root), name))
    root = check_request(corpus, args.root, sets)
    for name in sets:
        check_apart(args.data / name, root)
    corpus.prepare(root, args.data, sets)
    for name in sets:
        print(f"{args.data / name}: {validate_data_dir(args.data / name)}")
    return status(args.data / name for name in sets)

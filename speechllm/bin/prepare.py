"""Write and validate a Kaldi data directory DATA/SET for each set of a corpus.

Unusable utterances are listed in DATA/SET/dropped; the exit status is then 3.
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
    parser.add_argument("data", metavar="DATA", type=Path, help="parent of the data directories")
    text = "set names, e.g. dev_clean; derived sets mean their sources"
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help=text)


def run(args: Namespace) -> int:
    """Prepare the given sets."""
    corpus = component_module("corpora", args.corpus)
    sets = corpus_sets(args.sets, lambda name: corpus.has_set(Path(args.root), name))
    root = check_request(corpus, args.root, sets)
    for name in sets:
        check_apart(args.data / name, root)
    corpus.prepare(root, args.data, sets)
    for name in sets:
        print(f"{args.data / name}: {validate_data_dir(args.data / name)}")
    return status(args.data / name for name in sets)

"""Download the missing sets of a freely available corpus.

Resumes an interrupted download, verifies the published checksums and unpacks. The shell variable OPENSLR_URL names a
mirror of https://www.openslr.org/resources.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.corpora._prepare import check_request
from speechllm.data.derive.sets import corpus_sets
from speechllm.registry import available, component_module


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("corpus", metavar="CORPUS", help=f"one of {', '.join(available('corpora'))}")
    parser.add_argument("root", metavar="ROOT", help="folder of the corpus; created if missing")
    text = "set names, e.g. dev_clean; derived sets mean their sources"
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help=text)


def run(args: Namespace) -> None:
    """Download the given sets."""
    corpus = component_module("corpora", args.corpus)
    sets = corpus_sets(args.sets, lambda name: corpus.has_set(Path(args.root), name))
    root = check_request(corpus, args.root, sets)
    corpus.download(root, sets)

"""Download the missing sets of a corpus that is freely available.

Goes on where an earlier run was cut off, verifies the published checksums and unpacks. The shell variable
OPENSLR_URL names a mirror of https://www.openslr.org/resources.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.corpora._prepare import check_request
from speechllm.data.derive.sets import corpus_sets
from speechllm.registry import available, component_module


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("corpus", metavar="CORPUS", help=f"one of {', '.join(available('corpora'))}")
    parser.add_argument("root", metavar="ROOT", help="folder of the corpus; made if need be")
    text = "names such as dev_clean; for a derived set (see speechllm derive), its source"
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help=text)


def run(args: Namespace) -> None:
    """Download what is asked for."""
    corpus = component_module("corpora", args.corpus)
    sets = corpus_sets(args.sets, lambda name: corpus.has_set(Path(args.root), name))
    root = check_request(corpus, args.root, sets)
    corpus.download(root, sets)

"""Download sets of a corpus that may be had freely, as far as they are not there yet.

Goes on where an earlier run was cut off, verifies the published checksums and unpacks. The shell variable
OPENSLR_URL names a mirror of https://www.openslr.org/resources.
"""

from argparse import ArgumentParser, Namespace

from speechllm.corpora._prepare import check_request
from speechllm.registry import available, component_module


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("corpus", metavar="CORPUS", help=f"one of {', '.join(available('corpora'))}")
    parser.add_argument("root", metavar="ROOT", help="folder of the corpus; made if need be")
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="names such as dev_clean")


def run(args: Namespace) -> None:
    """Download what is asked for."""
    corpus = component_module("corpora", args.corpus)
    root = check_request(corpus, args.root, args.sets)
    corpus.download(root, args.sets)

"""Print the components, the training and the scores of a trained model."""

import argparse

from speechllm.bin._arguments import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", nargs="?", help="experiment, packed directory or hub id; default: list shipped models")
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Print the description."""
    from speechllm.pretrained.directory import read_model, shipped
    from speechllm.pretrained.info import describe

    if args.model is None:
        print("\n".join(shipped()) or "no model ships with this installation")
    else:
        print(describe(read_model(args.model, trust_components=args.trust_components)), end="")

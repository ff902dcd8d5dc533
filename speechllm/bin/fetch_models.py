"""Download the models that an experiment names by hub id."""

import argparse

from speechllm.bin._arguments import add_config
from speechllm.build import fetch_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    """Download the models."""
    from speechllm.pretrained.directory import read_config

    fetch_models(read_config(args.config, args.set, args.trust_components))

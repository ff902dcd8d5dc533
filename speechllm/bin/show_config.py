"""Print a configuration with all defaults and a description of each field."""

import argparse

from speechllm.bin._arguments import add_set, add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_set(parser)
    add_trust(parser)
    parser.add_argument("config", help="experiment YAML, or a trained model")


def run(args: argparse.Namespace) -> None:
    """Print the configuration."""
    from speechllm import config
    from speechllm.pretrained.directory import read_config

    print(config.explain(read_config(args.config, args.set, args.trust_components)))

"""Print a configuration with all defaults and a description of each field."""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_set(parser)
    parser.add_argument("config", type=Path, help="experiment YAML")


def run(args: argparse.Namespace) -> None:
    """Print the configuration."""
    from speechllm import config, experiment

    print(config.explain(experiment.load_config(args.config, args.set)))

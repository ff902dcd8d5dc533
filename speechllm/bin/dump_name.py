"""Print the name of the dump that an experiment reads."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="experiment YAML")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides of the YAML")


def run(args: argparse.Namespace) -> None:
    """Print."""
    from speechllm import experiment

    print(experiment.dump_name(experiment.load_config(args.config, args.set)))

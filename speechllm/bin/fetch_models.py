"""Download the models that an experiment names by hub id."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="experiment YAML")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override of the YAML; may be repeated"
    )


def run(args: argparse.Namespace) -> None:
    """Download."""
    from speechllm import experiment

    experiment.fetch_models(experiment.load_config(args.config, args.set))

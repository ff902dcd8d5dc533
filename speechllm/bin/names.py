"""Print two names: of the dump that an experiment reads, and of the Whisper model beside it."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="experiment YAML")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override of the YAML; may be repeated"
    )


def run(args: argparse.Namespace) -> None:
    """Print."""
    from speechllm import experiment

    config = experiment.load_config(args.config, args.set)
    print(experiment.dump_name(config), experiment.base_name(config.encoder))

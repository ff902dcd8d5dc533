"""Print two names: of the dump that an experiment reads, and of the Whisper model in it."""

import argparse

from speechllm.bin._arguments import add_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    """Print."""
    from speechllm import experiment
    from speechllm.pretrained.directory import read_config

    config = read_config(args.config, args.set, args.trust_components)
    print(experiment.dump_name(config), experiment.base_name(config.encoder))

"""Average the best checkpoints of an experiment into its model.safetensors."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("exp_dir", type=Path, help="directory of the experiment")


def run(args: argparse.Namespace) -> None:
    """Average the checkpoints."""
    from speechllm.train.run import average

    print(average(args.exp_dir))

"""Average the best checkpoints of an experiment into its model.safetensors."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("exp_dir", type=Path, help="directory of the experiment")
    parser.add_argument(
        "--initial_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the weights of train.init_from, 0 to 1 (%(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Average the checkpoints."""
    from speechllm.train.average import average

    print(average(args.exp_dir, args.initial_share))

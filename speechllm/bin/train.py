"""Train an experiment with DeepSpeed, from its last checkpoint if there is one.

Ctrl-C (SIGINT), SIGTERM and SIGUSR1 end it after the current optimizer step, with a checkpoint and the exit status 130,
143 or 138; a second signal ends it at once. The same command goes on from the checkpoint. The launchers deepspeed and
torchrun kill their processes 30 seconds after they have passed on a signal: a step and its checkpoint have to fit.
"""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="experiment YAML")
    add_set(parser)
    parser.add_argument(
        "--train",
        type=Path,
        nargs="+",
        required=True,
        metavar="DUMP",
        help="dumps of the training sets, see data.shares",
    )
    parser.add_argument("--valid", type=Path, required=True, metavar="DUMP", help="dump of the validation set")
    parser.add_argument("exp_dir", type=Path, help="directory of the experiment")


def run(args: argparse.Namespace) -> int:
    """Train; return 0, or 128 plus the number of the signal that ended the training early."""
    from speechllm import experiment
    from speechllm.train.run import train

    ended_by = train(experiment.load_config(args.config, args.set), args.train, args.valid, args.exp_dir)
    return 0 if ended_by is None else 128 + ended_by

"""Train an experiment with DeepSpeed, resuming from its last checkpoint if there is one.

Ctrl-C (SIGINT), SIGTERM and SIGUSR1 end training after the current optimizer step, with a checkpoint and the exit
status 130, 143 or 138; a second signal ends it at once. The same command resumes from the checkpoint. The launchers
deepspeed and torchrun kill their processes 30 seconds after a signal: a step and its checkpoint have to fit in that.
"""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_set
from speechllm.data.derive.sets import locate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="experiment YAML")
    add_set(parser)
    parser.add_argument(
        "--train",
        nargs="+",
        required=True,
        metavar="SET",
        help="training sets, see data.shares; without --dump, their directories",
    )
    parser.add_argument("--valid", required=True, metavar="SET", help="validation set")
    parser.add_argument("--dump", type=Path, help="parent of the dumps of speechllm dump")
    parser.add_argument("--data", type=Path, default=Path("data"), help="parent of the data directories (%(default)s)")
    parser.add_argument("exp_dir", type=Path, help="directory of the experiment")


def run(args: argparse.Namespace) -> int:
    """Train; return 0, or 128 plus the number of the signal that ended the training early."""
    from speechllm import experiment
    from speechllm.train.run import train

    config = experiment.load_config(args.config, args.set)

    def directories(sets: list[str]) -> list[Path]:
        if args.dump is None:
            return [Path(name) for name in sets]
        located = locate(sets, args.data, shuffled=False)
        return [experiment.set_dir(config, args.dump, one.name, one.data_dir) for one in located]

    ended_by = train(config, directories(args.train), directories([args.valid])[0], args.exp_dir)
    return 0 if ended_by is None else 128 + ended_by

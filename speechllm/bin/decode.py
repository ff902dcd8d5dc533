"""Decode a dump with an experiment's model, in jobs, then join their hypotheses."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--inference_config", type=Path, help="YAML of another decode section")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. decode.batch_size=8"
    )
    parser.add_argument("--nj", type=int, default=1, help="number of jobs")
    parser.add_argument("--job", type=int, help="which job to run, from 1; without it, join what all jobs have written")
    parser.add_argument(
        "--mismatched", action="store_true", help="give every utterance another's speech: does the model listen?"
    )
    parser.add_argument("exp_dir", type=Path, help="directory of the experiment")
    parser.add_argument("dump_dir", type=Path, help="dump of the set")
    parser.add_argument("out_dir", type=Path, help="where hypotheses go")


def run(args: argparse.Namespace) -> None:
    """Run one job, or join all."""
    if args.job is None:
        from speechllm.data.table import read_table
        from speechllm.decode.generate import merge_jobs

        print(merge_jobs(args.out_dir, read_table(args.dump_dir / "feats.scp"), args.nj))
        return
    from speechllm import experiment, stages

    config = experiment.read_experiment(args.exp_dir, args.inference_config, args.set)
    stages.decode(
        args.exp_dir, config, args.dump_dir, args.out_dir, nj=args.nj, job=args.job, mismatched=args.mismatched
    )

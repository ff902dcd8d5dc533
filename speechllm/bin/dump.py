"""Compute features (or the frozen encoder's states) of a Kaldi directory, in jobs, then join their shards."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--config", type=Path, required=True, help="experiment YAML: its frontend, encoder and data.dump"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override of the YAML; may be repeated"
    )
    parser.add_argument("--nj", type=int, default=1, help="number of jobs")
    parser.add_argument("--job", type=int, help="which job to run, from 1; without it, join what all jobs have written")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("dump_dir", type=Path)
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> None:
    """Run one job, or join all."""
    if not 1 <= (1 if args.job is None else args.job) <= args.nj:
        args.refuse(f"--job: found {args.job} of {args.nj} jobs, expected 1 to --nj, which is at least 1")
    if args.job is None:
        from speechllm.data.dump import merge_dump

        merge_dump(args.data_dir, args.dump_dir, nj=args.nj)
        return
    from speechllm import experiment, stages

    config = experiment.load_config(args.config, args.set)
    stages.dump(config, args.data_dir, args.dump_dir, nj=args.nj, job=args.job)

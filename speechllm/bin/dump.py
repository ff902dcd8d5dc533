"""Compute features (or the frozen encoder's states) of a Kaldi directory, in jobs, and merge their shards."""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_config, add_jobs, check_jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_config(parser)
    add_jobs(parser, without="merge the shards of all jobs")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("dump_dir", type=Path)


def run(args: argparse.Namespace) -> None:
    """Run one job, or merge all."""
    check_jobs(args)
    if args.job is None:
        from speechllm.data.dump import merge_dump

        merge_dump(args.data_dir, args.dump_dir, nj=args.nj)
        return
    from speechllm.inference.dump import dump
    from speechllm.pretrained.directory import read_config

    config = read_config(args.config, args.set, args.trust_components)
    dump(config, args.data_dir, args.dump_dir, nj=args.nj, job=args.job)

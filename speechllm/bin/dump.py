"""Compute features or encoder states of sets, in jobs, and merge their shards.

The dump of a set is DUMP/FRONTEND/SET. Experiments with the same FRONTEND share it.
"""

import argparse

from speechllm.bin._arguments import add_config
from speechllm.bin._sets import add_dump, add_jobs, add_sets, check_jobs
from speechllm.data.derive.sets import locate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_config(parser)
    add_jobs(parser, without="merge all shards, after computing them if --nj is 1")
    add_dump(parser)
    add_sets(parser)


def run(args: argparse.Namespace) -> None:
    """Run one job of each set, or merge the shards."""
    check_jobs(args)
    from speechllm import experiment
    from speechllm.data.dump import merge_dump
    from speechllm.inference.dump import dump
    from speechllm.pretrained.directory import read_config

    config = read_config(args.config, args.set, args.trust_components)
    if config.data.dump == "none":
        print(f"{args.config}: data.dump is none: features are computed when audio is read, nothing to dump")
        return
    for one in locate(args.sets, args.data, shuffled=False):
        out_dir = args.dump / experiment.dump_name(config) / one.name
        if args.job is not None or args.nj == 1:
            dump(config, one.data_dir, out_dir, nj=args.nj, job=args.job or 1)
        if args.job is None:
            merge_dump(one.data_dir, out_dir, nj=args.nj)

"""Decode a dump with a trained model, in jobs, and merge their hypotheses."""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_jobs, add_set, add_trust, check_jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--inference_config", type=Path, help="YAML of another decode section")
    add_set(parser, "overrides, e.g. decode.batch_size=8; may be repeated")
    add_trust(parser)
    add_jobs(parser, without="decode the rest of all jobs and merge them")
    parser.add_argument("--mismatched", action="store_true", help="decode each utterance with another one's audio")
    parser.add_argument("model", help="experiment, packed directory, shipped model or hub id")
    parser.add_argument("dump_dir", type=Path, help="dump of the set")
    parser.add_argument("out_dir", type=Path, help="where hypotheses go")


def run(args: argparse.Namespace) -> None:
    """Run one job, or all."""
    check_jobs(args)
    from speechllm.inference.run import decode
    from speechllm.pretrained.directory import read_to_decode

    path, config = read_to_decode(args.model, args.inference_config, args.set, trust_components=args.trust_components)
    decode(path, config, args.dump_dir, args.out_dir, nj=args.nj, job=args.job, shuffled=args.mismatched)

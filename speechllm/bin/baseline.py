"""Decode a Kaldi directory with Whisper's own decoder, in jobs, and merge their hypotheses."""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_config, add_jobs, check_jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_config(parser)
    add_jobs(parser, without="decode the rest of all jobs and merge them")
    parser.add_argument("--num_beams", type=int, default=1, help="beam width; 1 is greedy search")
    parser.add_argument(
        "--language", help="language of the speech, e.g. de (default: a multilingual Whisper detects it)"
    )
    parser.add_argument("data_dir", type=Path, help="Kaldi directory of the set")
    parser.add_argument("out_dir", type=Path, help="where hypotheses go")


def run(args: argparse.Namespace) -> None:
    """Run one job, or all."""
    check_jobs(args)
    from speechllm.inference.run import baseline
    from speechllm.pretrained.directory import read_config

    encoder = read_config(args.config, args.set, args.trust_components).encoder
    baseline(
        encoder.path,
        args.data_dir,
        args.out_dir,
        nj=args.nj,
        job=args.job,
        num_beams=args.num_beams,
        language=args.language,
    )

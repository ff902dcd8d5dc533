"""Decode sets with Whisper's own decoder, in jobs, and merge their hypotheses.

The hypotheses go to a directory next to EXP, named after the Whisper model, so that experiments share them.
EXP/baseline is a link to it.
"""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_config
from speechllm.bin._sets import add_jobs, add_sets, check_jobs
from speechllm.data.derive.sets import locate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_config(parser)
    add_jobs(parser, without="decode all remaining jobs and merge")
    parser.add_argument("--num_beams", type=int, default=1, help="beam width; 1 is greedy search")
    parser.add_argument("--language", help="language of the speech, e.g. de (default: the set's, else detected)")
    parser.add_argument("exp", metavar="EXP", type=Path, help="directory of the experiment")
    add_sets(parser)


def run(args: argparse.Namespace) -> None:
    """Run one job of each set, or all jobs."""
    check_jobs(args)
    from speechllm import experiment
    from speechllm.atomic import new_file
    from speechllm.inference.run import SetToDecode, baseline
    from speechllm.pretrained.directory import read_config

    encoder = read_config(args.config, args.set, args.trust_components).encoder
    exp_dir = args.exp.parent / experiment.base_name(encoder)
    sets = [
        SetToDecode(source=one.data_dir, out_dir=one.decode_dir(exp_dir))
        for one in locate(args.sets, args.data, shuffled=False)
    ]
    baseline(
        experiment.base_path(encoder) or experiment.base_name(encoder),
        sets,
        nj=args.nj,
        job=args.job,
        num_beams=args.num_beams,
        language=args.language,
    )
    if args.job is None:
        with new_file(args.exp / "baseline", sync=False) as link:
            link.symlink_to(Path("..", exp_dir.name))

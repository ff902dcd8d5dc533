"""Decode a Kaldi directory with Whisper's own decoder, in jobs, then join their hypotheses."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", type=Path, required=True, help="experiment YAML whose encoder is the Whisper model")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override of the YAML; may be repeated"
    )
    parser.add_argument("--nj", type=int, default=1, help="number of jobs")
    parser.add_argument("--job", type=int, help="which job to run, from 1; without it, join what all jobs have written")
    parser.add_argument("--num_beams", type=int, default=1, help="beam width; 1 is greedy search")
    parser.add_argument(
        "--language", help="language of the speech, e.g. de (default: a multilingual Whisper detects it)"
    )
    parser.add_argument("data_dir", type=Path, help="Kaldi directory of the set")
    parser.add_argument("out_dir", type=Path, help="where hypotheses go")


def run(args: argparse.Namespace) -> None:
    """Run one job, or join all."""
    if args.job is None:
        from speechllm.data.table import read_table
        from speechllm.decode.generate import merge_jobs

        print(merge_jobs(args.out_dir, read_table(args.data_dir / "utt2dur"), args.nj))
        return
    from speechllm import experiment, stages

    encoder = experiment.load_config(args.config, args.set).encoder
    stages.baseline(
        encoder.path,
        args.data_dir,
        args.out_dir,
        nj=args.nj,
        job=args.job,
        num_beams=args.num_beams,
        language=args.language,
    )

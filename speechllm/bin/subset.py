"""Write a data directory of the utterances that satisfy all given conditions."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.kaldi.subset import subset_data_dir
from speechllm.data.kaldi.table import read_ids
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write")
    parser.add_argument(
        "--utt_list", type=Path, metavar="FILE", help="file whose lines begin with the utterance ids to keep"
    )
    parser.add_argument("--speakers", nargs="+", metavar="SPEAKER", help="speakers to keep")
    parser.add_argument("--max_duration", type=float, metavar="SECONDS", help="maximum duration of an utterance")
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--first", type=int, metavar="N", help="keep the first N of the remaining utterances")
    number.add_argument("--random", type=int, metavar="N", help="keep N random ones of the remaining utterances")
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")


def run(args: Namespace) -> None:
    """Write and validate the subset."""
    subset_data_dir(
        args.source,
        args.target,
        utts=read_ids(args.utt_list) if args.utt_list else None,
        speakers=set(args.speakers) if args.speakers else None,
        max_duration=args.max_duration,
        first=args.first,
        random=args.random,
        seed=args.seed,
    )
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")

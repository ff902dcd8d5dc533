"""Split a data directory by speaker into training and validation sets."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.kaldi.subset import hold_out_speakers
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("--speakers", type=int, required=True, metavar="N", help="number of speakers for validation")
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="data directory to write")
    parser.add_argument("--valid", type=Path, required=True, metavar="DIR", help="data directory to write")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the choice of speakers (%(default)s)")


def run(args: Namespace) -> None:
    """Write both data directories."""
    speakers = hold_out_speakers(args.source, args.train, args.valid, args.speakers, args.seed)
    print(f"{args.source}: held out the speakers {' '.join(speakers)}")
    for target in (args.train, args.valid):
        print(f"{target}: {validate_data_dir(target, need_text=(target / 'text').exists())}")

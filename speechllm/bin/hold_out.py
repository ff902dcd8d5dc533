"""Split a data directory into training and validation, by speaker, or by transcript if there is a single speaker."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.kaldi.subset import hold_out_speakers, hold_out_transcripts
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    number = parser.add_mutually_exclusive_group(required=True)
    number.add_argument("--speakers", type=int, metavar="N", help="number of speakers for validation")
    number.add_argument(
        "--utterances", type=int, metavar="N", help="number for validation; none with a transcript of the training"
    )
    parser.add_argument("--train", type=Path, required=True, metavar="DIR", help="data directory to write")
    parser.add_argument("--valid", type=Path, required=True, metavar="DIR", help="data directory to write")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the choice (%(default)s)")


def run(args: Namespace) -> None:
    """Hold out speakers or utterances."""
    if args.utterances is not None:
        hold_out_transcripts(args.source, args.train, args.valid, args.utterances, args.seed)
    else:
        speakers = hold_out_speakers(args.source, args.train, args.valid, args.speakers, args.seed)
        print(f"{args.source}: held out the speakers {' '.join(speakers)}")
    for target in (args.train, args.valid):
        print(f"{target}: {validate_data_dir(target, need_text=(target / 'text').exists())}")

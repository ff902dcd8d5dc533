"""Write the hypotheses of segments as a CTM file, to be scored against an STM file.

Words have the times in words.ctm beside HYP, which decode writes with decode.word_times; without it they are spread
evenly over their segment. DATA may hold Kaldi's reco2file_and_channel; without it every recording is channel 1 of a
file of its name.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory, with segments")
    parser.add_argument("hyp", metavar="HYP", type=Path, help="hypotheses: a Kaldi text or .trn file")
    parser.add_argument("out", metavar="OUT.ctm", type=Path, help="file to write")


def run(args: Namespace) -> None:
    """Place the segments, and write."""
    from speechllm.report.score_sets import write_ctm

    print(write_ctm(args.data, args.hyp, args.out))

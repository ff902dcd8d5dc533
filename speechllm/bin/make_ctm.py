"""Write the hypotheses of segments as a CTM file, for scoring against an STM file.

Word times are read from words.ctm next to HYP, written by decode with decode.word_times; without that file the words
are spread evenly over their segment. DATA may hold Kaldi's reco2file_and_channel; without it every recording is
channel 1 of a file of the same name.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory with segments")
    parser.add_argument("hyp", metavar="HYP", type=Path, help="hypotheses: a Kaldi text or .trn file")
    parser.add_argument("out", metavar="OUT.ctm", type=Path, help="file to write")


def run(args: Namespace) -> None:
    """Write the file."""
    from speechllm.report.score_sets import write_ctm

    print(write_ctm(args.data, args.hyp, args.out))

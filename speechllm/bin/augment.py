"""Make a copy of a data directory with reverberation, noise or codec compression."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.derive.augment import CODECS, Augmentation, augment
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write")
    parser.add_argument(
        "--reverberation",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="range of reverberation times (RT60) in seconds: 0.2 0.8",
    )
    parser.add_argument(
        "--snr", type=float, nargs=2, metavar=("LEAST", "MOST"), help="range of signal-to-noise ratios in dB: 5 20"
    )
    parser.add_argument(
        "--noise_dir", type=Path, help="noise recordings; default: synthetic white, pink and brown noise and hum"
    )
    parser.add_argument(
        "--codecs", nargs="+", default=[], choices=CODECS, help="codecs to draw one from for each utterance"
    )
    parser.add_argument("--prefix", default="aug", help="prefix of utterance and speaker ids (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (%(default)s)")


def run(args: Namespace) -> None:
    """Write and validate the copy."""
    augmentation = Augmentation(
        reverberation=None if args.reverberation is None else tuple(args.reverberation),
        snr=None if args.snr is None else tuple(args.snr),
        noise_dir=args.noise_dir,
        codecs=tuple(args.codecs),
        seed=args.seed,
    )
    augment(args.source, args.target, augmentation, args.prefix)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")

"""Make a copy of a data directory with reverberation, noise or codec compression."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from speechllm.data.derive.augment import CODECS, Augmentation, augment
from speechllm.data.kaldi.validate import validate_data_dir


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="data directory")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to be made")
    parser.add_argument(
        "--reverberation",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="seconds in which it falls by 60 dB: 0.2 a small room, 0.8 a hall",
    )
    parser.add_argument("--snr", type=float, nargs=2, metavar=("LEAST", "MOST"), help="speech over noise, in dB: 5 20")
    parser.add_argument(
        "--noise_dir", type=Path, help="recordings of noise; without it white, pink and brown noise and hum are made"
    )
    parser.add_argument("--codecs", nargs="+", default=[], choices=CODECS, help="one of these is drawn")
    parser.add_argument("--prefix", default="aug", help="of utterance and speaker ids (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws otherwise (%(default)s)")


def run(args: Namespace) -> None:
    """Make and validate it."""
    augmentation = Augmentation(
        reverberation=None if args.reverberation is None else tuple(args.reverberation),
        snr=None if args.snr is None else tuple(args.snr),
        noise_dir=args.noise_dir,
        codecs=tuple(args.codecs),
        seed=args.seed,
    )
    augment(args.source, args.target, augmentation, args.prefix)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")

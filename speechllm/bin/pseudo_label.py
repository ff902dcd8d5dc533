"""Transcribe a data directory with Whisper, and keep the utterances of high confidence.

The hypotheses go to OUT_decode and are reused: changing the filter takes seconds. OUT/dropped lists the utterances left
out, with reasons. With --max_wer the transcripts of DATA are kept if the hypotheses agree with them.
"""

import argparse
from pathlib import Path

from speechllm.data.kaldi.dropped import status

JOBS = 20  # an interrupted run repeats at most one job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    from speechllm.inference.pseudo_label import Filter

    parser.add_argument("data", metavar="DATA", type=Path, help="data directory of the speech")
    parser.add_argument("out", metavar="OUT", type=Path, help="data directory to write")
    parser.add_argument("--whisper", required=True, help="Whisper model: directory or hub id")
    parser.add_argument("--language", help="language of the speech, e.g. de (default: detected)")
    parser.add_argument(
        "--normalizer", default="none", help="normaliser of the transcripts, see speechllm score (%(default)s)"
    )
    parser.add_argument(
        "--min_confidence",
        type=float,
        default=Filter.min_confidence,
        help="lowest mean log-probability of the tokens (%(default)s)",
    )
    parser.add_argument(
        "--min_rate", type=float, default=Filter.min_rate, help="fewest characters per second (%(default)s)"
    )
    parser.add_argument(
        "--max_rate", type=float, default=Filter.max_rate, help="most characters per second (%(default)s)"
    )
    parser.add_argument(
        "--max_wer", type=float, help="keep DATA's transcripts up to this WER (percent) of the hypothesis"
    )


def run(args: argparse.Namespace) -> int:
    """Decode and filter; return 3 if utterances were left out."""
    from speechllm.data.kaldi.validate import validate_data_dir
    from speechllm.inference.pseudo_label import Filter, write_pseudo_labelled
    from speechllm.inference.run import SetToDecode, baseline
    from speechllm.score.normalize import normalizer

    keep = Filter(
        min_confidence=args.min_confidence, min_rate=args.min_rate, max_rate=args.max_rate, max_wer=args.max_wer
    )
    decode_dir = args.out.with_name(f"{args.out.name}_decode")
    baseline(
        args.whisper,
        [SetToDecode(source=args.data, out_dir=decode_dir)],
        nj=JOBS,
        job=None,
        language=args.language,
        token_scores=True,
    )
    write_pseudo_labelled(args.data, decode_dir, args.out, keep, normalizer(args.normalizer))
    print(f"{args.out}: {validate_data_dir(args.out)}")
    return status([args.out])

"""Transcribe a data directory with a trained model or Whisper, and keep the utterances of high confidence.

The hypotheses go to OUT_decode and are reused: changing the filter takes seconds. OUT/dropped lists the utterances left
out, with reasons. With --max_wer the transcripts of DATA are kept if the hypotheses agree with them.
"""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_set, add_trust
from speechllm.data.kaldi.dropped import status

JOBS = 20  # an interrupted run repeats at most one job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    from speechllm.inference.pseudo_label import Filter

    parser.add_argument("data", metavar="DATA", type=Path, help="data directory of the speech")
    parser.add_argument("out", metavar="OUT", type=Path, help="data directory to write")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="experiment, packed directory, shipped model or hub id")
    source.add_argument("--whisper", help="Whisper model: directory or hub id")
    parser.add_argument("--language", help="with --whisper: language of the speech, e.g. de (default: detected)")
    add_set(parser, "with --model: overrides, e.g. decode.search.num_beams=1")
    add_trust(parser)
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
    from speechllm.inference.run import SetToDecode, baseline, decode
    from speechllm.pretrained.directory import WITHOUT_DUMP, read_model
    from speechllm.score.normalize import normalizer

    keep = Filter(
        min_confidence=args.min_confidence, min_rate=args.min_rate, max_rate=args.max_rate, max_wer=args.max_wer
    )
    decode_dir = args.out.with_name(f"{args.out.name}_decode")
    sets = [SetToDecode(source=args.data, out_dir=decode_dir)]
    if args.whisper is not None:
        baseline(args.whisper, sets, nj=JOBS, job=None, language=args.language, token_scores=True)
    else:
        model = read_model(args.model, [*args.set, WITHOUT_DUMP], trust_components=args.trust_components)
        decode(model.path, model.config, sets, nj=JOBS, job=None)
    write_pseudo_labelled(args.data, decode_dir, args.out, keep, normalizer(args.normalizer))
    print(f"{args.out}: {validate_data_dir(args.out)}")
    return status([args.out])

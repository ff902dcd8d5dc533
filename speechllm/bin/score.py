"""Score hypotheses against references as sclite does.

REF and HYP are Kaldi text files ("<utterance id> <words>") or sclite .trn files with the same utterances, or an .stm
and a .ctm file of whole recordings. ref.trn, hyp.trn, result.txt, analysis.md and score.json are written to OUT, if
given.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("ref", metavar="REF", type=Path, help="references")
    parser.add_argument("hyp", metavar="HYP", type=Path, help="hypotheses")
    out = "score directory to write, e.g. decode/<set>/score"
    parser.add_argument("out", metavar="OUT", nargs="?", type=Path, help=out)
    parser.add_argument(
        "--normalizer",
        default="none",
        help="none, librispeech, gigaspeech, whisper-english, whisper-basic or english (%(default)s)",
    )
    parser.add_argument("--spelling", type=Path, help="normalizer.json of a Whisper model, for English normalisers")
    parser.add_argument("--truncated", type=Path, help="ids of utterances that reached max_new_tokens")
    parser.add_argument(
        "--utt2dur", type=Path, help="durations (seconds), for the error rate by duration in analysis.md"
    )
    parser.add_argument("--context", type=Path, help="hot words of each utterance, for B-WER and U-WER")
    parser.add_argument("--glm", type=Path, help="global mapping of spellings, for .stm and .ctm")
    parser.add_argument("--char", action="store_true", help="score characters as well, in result_cer.txt")
    parser.add_argument("--check", action="store_true", help="compare OUT/result.txt with the output of sclite")
    parser.add_argument(
        "--examples", type=int, default=0, metavar="N", help="number of hypotheses to print with their references"
    )


def run(args: argparse.Namespace) -> int | None:
    """Score, and print the table."""
    from speechllm.errors import ConfigError
    from speechllm.report import tables as results
    from speechllm.score import directory
    from speechllm.score.biasing import score_biasing
    from speechllm.score.check import check_with_sclite
    from speechllm.score.examples import examples
    from speechllm.score.normalize import normalizer

    if args.ref.suffix == ".stm":
        scored = directory.score_recordings(args.ref, args.hyp, args.glm)
    else:
        scored = directory.score_files(
            args.ref,
            args.hyp,
            normalizer(args.normalizer, args.spelling),
            truncated=args.truncated,
            utt2dur=args.utt2dur,
            characters=args.char,
        )
    name = args.hyp.name
    if args.out is not None:
        directory.write_directory(args.out, scored)
        out = args.out.resolve()
        name = out.parent.name if out.name == "score" else out.name
    scores = {name: scored.summary}
    print(results.table(scores), end="")
    if args.char:
        print(f"\n{results.table(scores, characters=True)}", end="")
    print(f"\n{results.describe(scored.summary)}", end="")
    if args.context is not None:
        print(f"\n{score_biasing(scored.words, args.context, normalizer(args.normalizer, args.spelling))}", end="")
    if args.check:
        if args.out is None:
            raise ConfigError("--check: found no OUT, expected a directory whose result.txt can be compared; give one")
        print(check_with_sclite(args.out))
    if args.examples > 0:
        print(f"\n{examples(args.ref, args.hyp, args.examples)}", end="")
    return None

"""Score hypotheses against references as sclite does.

REF and HYP are Kaldi text files ("<utterance id> <words>") or sclite .trn files, with the same
utterances. OUT receives ref.trn, hyp.trn, result.txt and score.json.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("ref", metavar="REF", type=Path, help="references")
    parser.add_argument("hyp", metavar="HYP", type=Path, help="hypotheses")
    parser.add_argument("out", metavar="OUT", type=Path, help="score directory to write, e.g. decode/<set>/score")
    parser.add_argument("--normalizer", default="none", help="none, librispeech or whisper-english (default: none)")
    parser.add_argument("--spelling", type=Path, help="a Whisper model's normalizer.json, for whisper-english")
    parser.add_argument(
        "--truncated", type=Path, help="ids of the utterances whose hypothesis was cut at the token cap"
    )
    parser.add_argument("--char", action="store_true", help="score characters as well, in result_cer.txt")
    parser.add_argument("--examples", type=int, default=0, metavar="N", help="print N hypotheses beside references")


def run(args: argparse.Namespace) -> int | None:
    """Score, and print the row of the table."""
    from speechllm.score import directory, results
    from speechllm.score.examples import examples
    from speechllm.score.normalize import normalizer

    summary = directory.score_files(
        args.ref,
        args.hyp,
        args.out,
        normalizer(args.normalizer, args.spelling),
        truncated=args.truncated,
        characters=args.char,
    )
    out = args.out.resolve()
    scores = {out.parent.name if out.name == "score" else out.name: summary}
    print(results.table(scores), end="")
    if args.char:
        print(f"\n{results.table(scores, characters=True)}", end="")
    print(f"\n{results.describe(summary)}", end="")
    if args.examples > 0:
        print(f"\n{examples(args.ref, args.hyp, args.examples)}", end="")
    return None

"""Write EXP/report.html: scores, plots, alignments and audio."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("exp", metavar="EXP", type=Path, help="experiment directory with scores")
    parser.add_argument("beside", metavar="EXP", nargs="*", type=Path, help="experiments to compare with")
    parser.add_argument("--data", type=Path, help="parent of the data directories, for the audio, e.g. data")
    parser.add_argument(
        "--embed_audio",
        type=int,
        default=0,
        metavar="N",
        help="audio of the N utterances with most errors to embed per set",
    )
    parser.add_argument("--output", type=Path, help="page to write (default: EXP/report.html)")


def run(args: argparse.Namespace) -> int | None:
    """Write the page."""
    from speechllm.errors import ConfigError
    from speechllm.report.audio_urls import audio_urls, embedded_audio
    from speechllm.report.html import most_errors, write_report
    from speechllm.report.tables import find_scores

    if args.embed_audio and args.data is None:
        raise ConfigError("--embed_audio: found no --data, expected the parent of the data directories; give it")
    output = args.output or args.exp / "report.html"
    audio = {}
    if args.data is not None:
        audio = audio_urls(args.data, find_scores(args.exp), output.resolve().parent)
    if args.embed_audio > 0:
        for name, embedded in embedded_audio(args.data, most_errors(args.exp, args.embed_audio)).items():
            audio[name].update(embedded)
    counts = write_report(args.exp, [exp.resolve() for exp in args.beside], audio, output)
    print(f"{output}: {', '.join(f'{number} utterances of {name}' for name, number in counts.items())}")
    return None

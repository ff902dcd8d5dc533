"""Transcribe audio files, folders of them, or standard input (-) with a trained model."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio file of any rate and format, folder, or -")
    parser.add_argument("--model", help="experiment, packed directory, shipped model or hub id; default: the shipped")
    parser.add_argument("--format", choices=("txt", "json", "srt", "vtt"), default="txt", help="(%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for a file each; what is there already is not done again")
    parser.add_argument("--batch_size", type=int, default=8, help="windows recognised at once (%(default)s)")
    parser.add_argument("--longest", type=float, help="seconds recognised at once; default: as the model was trained")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (%(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. decode.search.num_beams=4"
    )


def run(args: argparse.Namespace) -> int:
    """Transcribe; return 3 if some file could not be read."""
    from speechllm.decode import files

    with files.stdin_as_file(args.files) as names:
        return _transcribe(args, files.find_files(names))


def _transcribe(args: argparse.Namespace, found: dict[Path, Path]) -> int:
    from tqdm import tqdm
    from transformers.utils import logging

    from speechllm.api import load
    from speechllm.data.audio import expected_duration
    from speechllm.decode import files
    from speechllm.decode.transcript import Transcript

    logging.disable_progress_bar()  # of loading weights: only that of the speech is of use
    model = load(args.model, device=args.device, overrides=args.set, merge_lora=True)
    total = sum(map(expected_duration, found))
    with tqdm(total=round(total), unit="s", desc="speech", dynamic_ncols=True) as bar:

        def transcribe(paths):  # type: ignore[no-untyped-def]
            options = {"batch_size": args.batch_size, "longest": args.longest}
            for result in model.transcribe_each(paths, **options, progress=lambda seconds: bar.update(round(seconds))):
                if isinstance(result, Transcript):
                    for warning in result.warnings:
                        bar.write(f"{result.source}: {warning}", file=sys.stderr)
                yield result

        if args.out is None:
            errors = files.print_transcripts(list(found), transcribe, args.format)
        else:
            errors = files.write_transcripts(found, transcribe, args.out, args.format, model.identity())
    for error in errors:
        print(f"speechllm transcribe: {error}", file=sys.stderr)
    if errors:
        print(f"speechllm transcribe: {len(errors)} of {len(found)} files left out", file=sys.stderr)
    return 3 if errors else 0

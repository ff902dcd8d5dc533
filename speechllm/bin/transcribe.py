"""Transcribe audio files, folders of audio files, or standard input (-) with a trained model.

Links to folders are followed; hidden files are left out. Unreadable files are listed; the exit status is then 3.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from speechllm.bin._arguments import add_set, add_switch, add_trust
from speechllm.bin._renamed import add_renamed

if TYPE_CHECKING:
    from speechllm.errors import DataError
    from speechllm.inference.inputs import Input
    from speechllm.inference.transcript import Transcript
    from speechllm.interfaces import Seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio file of any rate, folder, pipe, or -")
    parser.add_argument("--model", help="experiment, packed directory, shipped model (default) or hub id")
    parser.add_argument("--format", choices=("txt", "json", "srt", "vtt"), default="txt", help="format (%(default)s)")
    parser.add_argument("--out", type=Path, help="folder for one transcript per file; existing transcripts are kept")
    parser.add_argument("--batch_size", type=int, default=8, help="windows per batch (%(default)s)")
    context = parser.add_mutually_exclusive_group()
    context.add_argument("--context", default="", metavar="TEXT", help="text for the prompt, such as hot words")
    context.add_argument("--context_file", type=Path, metavar="FILE", help="file of the text; hot words, one per line")
    parser.add_argument("--language", default="", help="language of the speech, e.g. de, for prompts that name it")
    add_renamed(parser, "--longest", "--max_window")
    parser.add_argument("--max_window", type=float, help="maximum window (seconds, 1 or more); default: as trained")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (%(default)s)")
    parser.add_argument("--quantize", choices=("int8",), help="8-bit linear layers: faster on a CPU")
    add_set(parser, "overrides, e.g. decode.search.num_beams=4")
    add_switch(parser, "--word_times", "decode.word_times=true", "add word times to json, srt and vtt")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Transcribe the files; return 3 if some could not be read."""
    from speechllm.inference import inputs, outputs
    from speechllm.inference.transcribe import check_options

    check_options(args.batch_size, args.max_window)
    with inputs.find_inputs(args.files) as (found, errors):
        outputs.check_outputs(found, args.out, args.format)
        durations, unreadable = outputs.measure(outputs.missing_outputs(found, args.out, args.format))
        num_errors = len(errors) + len(unreadable)
        for error in errors + unreadable:
            outputs.report(f"speechllm transcribe: {error}")
        if len(found) > len(unreadable):  # there are files to transcribe, or transcripts of an earlier run to check
            num_errors += _transcribe(args, durations)
    if num_errors:
        outputs.report(f"speechllm transcribe: {num_errors} of {len(found) + len(errors)} files left out")
    return 3 if num_errors else 0


def _transcribe(args: argparse.Namespace, durations: "dict[Input, Seconds]") -> int:
    """Transcribe the files that can be opened; return how many of them could not be read to the end."""
    from transformers.utils.logging import disable_progress_bar

    from speechllm import load
    from speechllm.inference import inputs, outputs

    disable_progress_bar()  # of loading weights
    loading = {"device": args.device, "overrides": args.set, "trust_components": args.trust_components}
    model = load(args.model, merge_lora=True, quantize=args.quantize, **loading)
    context = inputs.read_context(args.context_file) if args.context_file else args.context
    options = {"max_window": args.max_window, "context": context, "language": args.language}
    with outputs.progress_bar(sum(durations.values())) as progress:

        def transcribe(paths: Iterable[Path]) -> "Iterator[Transcript | DataError]":
            return model.transcribe_each(paths, batch_size=args.batch_size, progress=progress, **options)

        if args.out is None:
            return outputs.print_transcripts(list(durations), transcribe, args.format)
        fingerprint = model.fingerprint(**options)
        return outputs.write_transcripts(list(durations), transcribe, args.out, args.format, fingerprint)

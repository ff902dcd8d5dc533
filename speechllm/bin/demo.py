"""Serve a local web page that transcribes a microphone or a file."""

import argparse

from speechllm.bin._arguments import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--model", help="experiment, packed directory, shipped model (default) or hub id")
    parser.add_argument("--language", default="", help="language of the speech, for prompts that name it, e.g. de")
    parser.add_argument("--port", type=int, default=7860, help="port on http://127.0.0.1 (%(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (%(default)s)")
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Serve the page until interrupted."""
    from speechllm.api import load
    from speechllm.demo import serve

    model = load(args.model, device=args.device, merge_lora=True, trust_components=args.trust_components)
    serve(model, port=args.port, language=args.language)

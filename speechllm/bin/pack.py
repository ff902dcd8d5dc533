"""Pack a trained model into a directory for other machines; --push uploads it to the hub."""

import argparse
from pathlib import Path

from speechllm.bin._arguments import add_set, add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("model", help="experiment, packed directory, shipped model or hub id")
    parser.add_argument("out_dir", type=Path, help="new directory")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16", help="(%(default)s)")
    for part in ("encoder", "decoder"):
        parser.add_argument(f"--{part}", help=f"hub id to name as {part}; default: copy it if local")
    parser.add_argument("--notes", type=Path, help="Markdown for the model card: data, licences, limits")
    parser.add_argument("--push", metavar="REPO", help="upload to the hub as USER/NAME")
    parser.add_argument("--private", action="store_true", help="make the repository of --push private")
    add_set(parser, "overrides, e.g. decode.search.num_beams=4")
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Load the model as a check, and write the directory."""
    from speechllm.api import load
    from speechllm.pretrained.hub import check_repo, push

    if args.push is not None:
        check_repo(args.push)
    notes = args.notes.read_text(encoding="utf-8") if args.notes else ""
    model = load(args.model, device="cpu", overrides=args.set, trust_components=args.trust_components)
    model.save_pretrained(
        args.out_dir, dtype=args.dtype, encoder=args.encoder, decoder=args.decoder, notes=notes, name=args.push
    )
    print(f"{args.out_dir}: {sum(path.stat().st_size for path in args.out_dir.rglob('*')) / 2**20:.1f} MiB")
    if args.push is not None:
        print(push(args.out_dir, args.push, private=args.private))

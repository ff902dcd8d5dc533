"""Import your own audio and transcripts as a data directory; see egs/OWN_DATA.md.

SOURCE is a folder of audio with a .txt file for each audio file, a table `path<TAB>text[<TAB>speaker]` (.tsv, .csv),
lines `text (id)` (.trn, .transcription), a Hugging Face data set on disk, a Lhotse or NeMo manifest, or a Kaldi
directory. If speakers are unknown, every utterance gets its own speaker. Unusable utterances are listed in
TARGET/dropped; the exit status is then 3.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import ModuleType

from speechllm.data.importers import Options
from speechllm.data.kaldi.data_dir import write_language
from speechllm.data.kaldi.dropped import status
from speechllm.data.kaldi.target import check_apart
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.data.kaldi.write_rows import write_rows
from speechllm.errors import ConfigError, DataError
from speechllm.registry import available, component_module

_KIND = "data.importers"
_COLUMNS = ("audio", "text", "speaker", "id")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="file or folder to import")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to write, such as data/train")
    formats = ", ".join(available(_KIND))
    parser.add_argument("--format", metavar="FORMAT", help=f"{formats}, or your own module; default: detected")
    parser.add_argument("--split", default="", metavar="NAME", help="split to import, if there are several")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="WHAT=COLUMN",
        help=f"columns or keys of {', '.join(_COLUMNS)}, e.g. text=sentence",
    )
    parser.add_argument("--language", metavar="CODE", help="language of the utterances, e.g. de; recorded in TARGET")


def run(args: Namespace) -> int:
    """Import and validate the data."""
    if not args.source.exists():
        raise DataError(f"{args.source}: no such file or folder, expected data to import; check the path")
    check_apart(args.target, args.source)
    if args.language is not None:
        from speechllm.data.language import language_name  # imports transformers, which takes a second

        language_name(args.language, "--language")
    name = args.format or _detect(args.source)
    importer = component_module(_KIND, name)
    options = _options(args, name, importer)
    rows = importer.read(args.source, Path(f"{args.target}_audio"), options)
    write_rows(args.target, rows, f"import {name} {args.source}", importer.KEEPS_IDS)
    write_language(args.target, args.language)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")
    return status([args.target])


def _detect(source: Path) -> str:
    """Return the name of the format that recognises the source."""
    names = available(_KIND)
    claims = [name for name in names if component_module(_KIND, name).claims(source)]
    if len(claims) != 1:
        found = f"it may be {' or '.join(claims)}" if claims else "it matches none of them"
        raise ConfigError(f"{source}: found no single format of {', '.join(names)}: {found}; give --format FORMAT")
    return claims[0]


def _options(args: Namespace, name: str, importer: ModuleType) -> Options:
    columns = dict(column.partition("=")[::2] for column in args.columns)
    if wrong := [column for column in args.columns if column.partition("=")[0] not in _COLUMNS or "=" not in column]:
        raise ConfigError(f"--columns: found {wrong[0]!r}, expected {'=..., '.join(_COLUMNS)}=...")
    for option, given in (("split", args.split), ("columns", columns)):
        if given and option not in importer.OPTIONS:
            raise ConfigError(f"--{option}: the format {name} has no such option; leave it out")
    return Options(split=args.split, columns=columns)

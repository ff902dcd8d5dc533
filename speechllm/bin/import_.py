"""Import your own audio and transcripts as a data directory; see egs/OWN_DATA.md.

SOURCE is a folder of audio with a .txt beside each file, a table `path<TAB>text[<TAB>speaker]` (.tsv, .csv), lines
`text (id)` (.trn, .transcription), a Hugging Face data set on disk, a manifest of Lhotse or NeMo, or a Kaldi directory.
Where speakers are unknown, every utterance is a speaker of its own. What cannot be used is listed in TARGET/dropped; if
there is such, the exit status is 3.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import ModuleType

from speechllm.data.importers import Options
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
    parser.add_argument("source", type=Path, metavar="SOURCE", help="what you have")
    parser.add_argument("target", type=Path, metavar="TARGET", help="data directory to be made, such as data/train")
    formats = ", ".join(available(_KIND))
    parser.add_argument("--format", metavar="FORMAT", help=f"{formats}, or a module of yours; found by itself")
    parser.add_argument("--split", default="", metavar="NAME", help="which split, where there are several")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="WHAT=COLUMN",
        help=f"which column or key holds the {', '.join(_COLUMNS)}, such as text=sentence",
    )


def run(args: Namespace) -> int:
    """Import."""
    if not args.source.exists():
        raise DataError(f"{args.source}: no such file or folder, expected what is to be imported; is the path right?")
    check_apart(args.target, args.source)
    name = args.format or _detect(args.source)
    importer = component_module(_KIND, name)
    options = _options(args, name, importer)
    rows = importer.read(args.source, Path(f"{args.target}_audio"), options)
    write_rows(args.target, rows, f"import {name} {args.source}", importer.KEEPS_IDS)
    print(f"{args.target}: {validate_data_dir(args.target, need_text=(args.target / 'text').exists())}")
    return status([args.target])


def _detect(source: Path) -> str:
    """Return the name of the format that claims the source."""
    names = available(_KIND)
    claims = [name for name in names if component_module(_KIND, name).claims(source)]
    if len(claims) != 1:
        found = f"it may be {' or '.join(claims)}" if claims else "it is like none of them"
        raise ConfigError(f"{source}: found no single format of {', '.join(names)}: {found}; say --format FORMAT")
    return claims[0]


def _options(args: Namespace, name: str, importer: ModuleType) -> Options:
    columns = dict(column.partition("=")[::2] for column in args.columns)
    if wrong := [column for column in args.columns if column.partition("=")[0] not in _COLUMNS or "=" not in column]:
        raise ConfigError(f"--columns: found {wrong[0]!r}, expected {'=..., '.join(_COLUMNS)}=...")
    for option, given in (("split", args.split), ("columns", columns)):
        if given and option not in importer.OPTIONS:
            raise ConfigError(f"--{option}: the format {name} has none; leave it out")
    return Options(split=args.split, columns=columns)

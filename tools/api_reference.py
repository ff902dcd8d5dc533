#!/usr/bin/env python3
"""Write the API reference of the library as HTML, by pdoc; it is part of `pip install -e '.[dev]'`."""

import argparse
import pkgutil
import warnings
from pathlib import Path

import pdoc

import speechllm

INCOMPLETE = ("Error importing", "Couldn't import", "does not resolve")
"""Parts of pdoc's warnings of modules and names that it leaves out."""


def write_reference(folder: Path) -> list[str]:
    """Write a page for each module of the library, and return the warnings of modules and names that have none."""
    # each by its name, since pdoc leaves out the modules of packages with __all__
    names = [module.name for module in pkgutil.walk_packages(speechllm.__path__, "speechllm.")]
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc(*(name for name in names if not name.endswith(".__main__")), output_directory=folder)
    messages = (str(warning.message) for warning in caught)
    return [message for message in messages if any(part in message for part in INCOMPLETE)]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="directory of the pages")
    folder = parser.parse_args().folder
    for message in write_reference(folder):
        print(message)
    print(folder / "index.html")


if __name__ == "__main__":
    main()

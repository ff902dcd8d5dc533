"""Fill the tables of pages from records of results.

Comments in a page name the records of its tables, see speechllm/report/result_tables.py.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("pages", metavar="PAGE", nargs="+", type=Path, help="Markdown page, e.g. RESULTS.md")
    parser.add_argument(
        "--add",
        metavar="EXP",
        action="append",
        default=[],
        type=Path,
        help="first copy EXP/record.json to results/ beside the first page",
    )


def run(args: argparse.Namespace) -> int | None:
    """Copy the records, and fill the tables."""
    from speechllm.report.record import add_record
    from speechllm.report.result_tables import fill_page

    for exp in args.add:
        print(add_record(exp, args.pages[0].parent / "results"))
    for page in args.pages:
        print(f"{page}: {fill_page(page)} tables")
    return None

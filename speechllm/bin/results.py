"""Collect the scores of experiments in tables.

Every score.json below EXP/decode is one row. With --output, the tables replace the text between the lines
"<!-- generated: begin -->" and "<!-- generated: end -->" of that file, and EXP/record.json is written: scores,
commands, versions and hardware, the source of speechllm fill_tables.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("exps", metavar="EXP", nargs="+", type=Path, help="experiment directory, e.g. exp/<name>")
    parser.add_argument(
        "--output", type=Path, help="Markdown file to update, e.g. RESULTS.md; each EXP gets record.json"
    )
    parser.add_argument("--command", default="", help="command that produced the scores, to record with them")


def run(args: argparse.Namespace) -> int | None:
    """Print the tables, and update the file."""
    from speechllm.report import record
    from speechllm.report import tables as results

    generated = results.report([exp.resolve() for exp in args.exps], args.command)
    print(generated, end="")
    if args.output is not None:
        results.update(args.output, generated)
        for exp in args.exps:
            record.write_record(exp / record.RESULTS_RECORD, record.record_of(exp, args.command))
    return None

"""The benchmark at the paper's sizes runs with tiny shapes, on any device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def rows(*options: str) -> list[list[str]]:
    command = [sys.executable, str(Path(__file__).with_name("paper_scale.py")), "--tiny", "--steps", "1", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert result.returncode == 0, result.stderr[-3000:]
    table = result.stdout[result.stdout.index("| | batch") :].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def test_it_prints_one_table_with_the_plain_loop_in_it() -> None:
    header, _, *found = rows("--no-compile")
    assert [row[0] for row in found] == [
        *["plain loop"] * 2,
        *["ours, padded"] * 2,
        *["ours, packed"] * 2,
        "the LLM alone",
    ]
    assert all(len(row) == len(header) and float(row[2]) > 0 and float(row[3]) > 0 for row in found)


def test_rows_beyond_the_limit_are_not_reached() -> None:
    assert {row[2] for row in rows("--no-compile", "--limit", "0")[2:]} == {"not reached"}


@pytest.mark.slow
def test_the_layers_are_compiled() -> None:
    assert [row[0] for row in rows("--compile")[-3:]] == [*["ours, packed and compiled"] * 2, "the LLM alone, compiled"]

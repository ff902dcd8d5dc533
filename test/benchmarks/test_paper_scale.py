"""The benchmark at the paper's sizes runs with tiny shapes, on any device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def tables(*options: str) -> list[list[list[str]]]:
    """Return the cells of the tables of training and of decoding."""
    command = [sys.executable, str(Path(__file__).with_name("paper_scale.py")), "--tiny", "--steps", "1", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert result.returncode == 0, result.stderr[-3000:]
    found = result.stdout[result.stdout.index("| | batch") :].strip().split("\n\n")
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()] for table in found]


@pytest.mark.slow
def test_it_prints_training_with_the_plain_loop_and_decoding() -> None:
    training, decoding = tables("--no-compile")
    header, _, *found = training
    assert [row[0] for row in found] == [
        *["plain loop"] * 2,
        *["ours, padded"] * 2,
        *["ours, packed"] * 2,
        "the LLM alone",
    ]
    assert all(len(row) == len(header) and float(row[2]) > 0 and float(row[3]) > 0 for row in found)
    assert len(decoding) == 2 + 6 and all(float(row[2]) > 0 and float(row[3]) > 0 for row in decoding[2:])


@pytest.mark.slow
def test_rows_beyond_the_limit_are_not_reached() -> None:
    for table in tables("--no-compile", "--limit", "0"):
        assert {row[2] for row in table[2:]} == {"not reached"}


@pytest.mark.slow
def test_the_layers_are_compiled() -> None:
    assert [row[0] for row in tables("--compile")[0][-3:]] == [
        *["ours, packed and compiled"] * 2,
        "the LLM alone, compiled",
    ]

"""The benchmark of decoding runs with a tiny shape, on any device."""

import pytest
from paper_scale_decoding import main


def rows(capsys: pytest.CaptureFixture[str], *options: str) -> list[list[str]]:
    main(["--tiny", "--searches", "1", *options])
    out = capsys.readouterr().out
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in out[out.index("| | batch") :].splitlines()]


def test_it_prints_one_table_with_transformers_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    header, _, *found = rows(capsys, "--no-compile")
    assert [row[0] for row in found] == [
        *["transformers, greedy", "ours, greedy", "transformers, 4 beams", "ours, 4 beams"],
        *["ours, greedy, speculative"] * 2,
    ]
    assert all(len(row) == len(header) and float(row[2]) > 0 and float(row[3]) > 0 for row in found)


def test_rows_beyond_the_limit_are_not_reached(capsys: pytest.CaptureFixture[str]) -> None:
    assert {row[2] for row in rows(capsys, "--no-compile", "--limit", "-1")[2:]} == {"not reached"}

"""The record of an experiment's results, and the tables that are filled from records."""

from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.report.record import RESULTS_RECORD, read_record, record_of, write_record
from speechllm.report.result_tables import fill_page
from speechllm.score.directory import score_files, write_directory
from speechllm.score.normalize import normalizer

RUN = """command: speechllm train --config conf/fc.yaml --train a --valid b exp/fc
git: c1
hardware: 2 x CPU
versions: {torch: 2.1}
"""
PAGE = """# RESULTS

<!-- rows of results/: fc fc:shuffled -->
| model | configuration | test | control (test) | deletions (test) |
|---|---|---|---|---|
| old | | 1 | | |

Below.
"""


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    exp = tmp_path / "exp/fc"
    for name, hyp in (("test", "84-1-1 A B C D\n85-1-1 E\n"), ("test_shuffled", "84-1-1 E X\n85-1-1 A B C\n")):
        folder = exp / "decode" / name
        folder.mkdir(parents=True)
        (folder / "ref").write_text("84-1-1 A B C D\n85-1-1 E F\n")
        (folder / "hyp").write_text(hyp)
        write_directory(folder / "score", score_files(folder / "ref", folder / "hyp", normalizer("none")))
    (exp / "run.yaml").write_text(RUN)
    (exp / "decode/test/run.yaml").write_text(RUN.replace("train --config conf/fc.yaml", "decode").replace("c1", "c2"))
    return exp


def test_a_record_has_scores_and_runs_and_is_read_as_written(exp: Path, tmp_path: Path) -> None:
    record = record_of(exp, "./run.sh --config conf/fc.yaml")
    assert record.config == "conf/fc.yaml"
    assert (record.training["git hash"], record.training["hardware"], record.training["torch"]) == (
        "c1",
        "2 x CPU",
        "2.1",
    )
    assert record.decoding == {"test": {"command": "speechllm decode --train a --valid b exp/fc", "git hash": "c2"}}
    write_record(tmp_path / "a.json", record)
    again = read_record(tmp_path / "a.json")
    assert again.scores["test"].wer == pytest.approx(100 / 6, abs=1e-4)
    assert (again.scores["test"].deletions, again.scores["test"].truncated) == (again.scores["test"].wer, None)
    write_record(tmp_path / "b.json", again)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_an_experiment_becomes_a_row(exp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(exp / "RESULTS.md"), "--command", "./run.sh"]
    assert main(["results", str(exp), *output]) == 0
    page, record = tmp_path / "RESULTS.md", tmp_path / "results/fc.json"
    page.write_text(PAGE)
    assert main(["fill_tables", str(page), "--add", str(exp)]) == 1
    assert "no record of <!-- rows of results/: fc fc:shuffled --> has column 'model'" in capsys.readouterr().err
    record.write_text(record.read_text().replace(' "scores"', ' "cells": {"model": "FC"},\n "scores"'))
    assert main(["fill_tables", str(page), "--add", str(exp)]) == 0
    assert page.read_text().splitlines()[5:] == [
        "| FC | `conf/fc.yaml` | 16.7 (0.0-50.0) | 116.7 | 16.7 |",
        "| the same with shuffled audio (control) | | 116.7 | | |",
        "",
        "Below.",
    ]
    once = page.read_bytes()
    assert fill_page(page) == 1
    assert page.read_bytes() == once


def test_a_table_of_all_scores_has_no_columns_of_zeros(exp: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "fc.json", record_of(exp, ""))
    page = tmp_path / "scores.md"
    page.write_text("<!-- scores of ./: fc -->\n|old|\n")
    fill_page(page)
    _, head, _, test, shuffled = page.read_text().splitlines()
    assert head == "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|95% interval|Normalizer|Raw WER|"
    assert test == "|fc: test|2|6|83.3|0.0|16.7|0.0|16.7|50.0|0.0-50.0|none (1)|16.7|"
    assert shuffled.startswith("|fc: test_shuffled|2|6|0.0|")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"fc\.json: found no record of results"),
        ('{"scores": {"test": {"wrr": 1}}}', r"fc\.json: found no record of results \(.*wrr"),
        ("{", r"fc\.json: found no record of results"),
        (None, r"fc\.json: found no record of results \(.*No such file"),
        ('{"scores": {"test": {"wer": 1.0}}}', r"RESULTS\.md: no record of .* has column 'model'"),
    ],
)
def test_wrong_records_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "RESULTS.md").write_text(PAGE)
    if content is not None:
        (tmp_path / "results/fc.json").write_text(content)
    with pytest.raises(DataError, match=message):
        fill_page(tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == PAGE


def test_a_marker_needs_a_table(tmp_path: Path) -> None:
    (tmp_path / "RESULTS.md").write_text("<!-- rows of ./: a -->\n\n")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"RESULTS\.md: found no table below <!-- rows of \./: a -->"):
        fill_page(tmp_path / "RESULTS.md")


def test_an_experiment_without_a_record_is_refused(exp: Path, tmp_path: Path) -> None:
    assert not (exp / RESULTS_RECORD).exists()
    (tmp_path / "RESULTS.md").write_text("")
    assert main(["fill_tables", str(tmp_path / "RESULTS.md"), "--add", str(exp)]) == 1

"""Tables, and the generated part of RESULTS.md."""

from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.report import tables as results
from speechllm.score.directory import score_files, write_directory
from speechllm.score.normalize import normalizer


def make_score(out: Path, hyp: str, *, characters: bool = False) -> None:
    folder = out.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ref").write_text("84-1-1 A B C D\n85-1-1 E F\n")
    (folder / "hyp").write_text(hyp)
    scored = score_files(folder / "ref", folder / "hyp", normalizer("none"), characters=characters)
    write_directory(out, scored)


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    make_score(tmp_path / "exp/qf/decode/test-clean/score", "84-1-1 A B C D\n85-1-1 E X\n")
    make_score(tmp_path / "exp/qf/decode/test-other/score", "84-1-1 A\n85-1-1\n", characters=True)
    make_score(tmp_path / "exp/qf/decode/test-other/score-upper", "84-1-1 A B C D\n85-1-1 E F\n")
    return tmp_path / "exp/qf"


def test_table_in_espnet_form(exp: Path) -> None:
    lines = results.table(results.collect(exp)).splitlines()
    assert lines[0].startswith("|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|95% interval|")
    assert lines[1] == "|" + "---|" * (lines[0].count("|") - 1)
    assert lines[2].startswith("|test-clean|2|6|83.3|16.7|0.0|0.0|16.7|50.0|")
    assert lines[3].startswith("|test-other|2|6|16.7|0.0|83.3|0.0|83.3|100.0|75.0-100.0|1|none (1)|83.3|")
    assert lines[4].startswith("|test-other/score-upper|2|6|100.0|0.0|0.0|0.0|0.0|0.0|0.0-0.0|0|none (1)|0.0|")
    assert lines[0].endswith("|95% interval|Empty|Normalizer|Raw WER|"), "the other counts are 0 everywhere"
    assert len(lines) == 5


def test_characters_only_where_they_were_scored(exp: Path) -> None:
    lines = results.table(results.collect(exp), characters=True).splitlines()
    assert lines[0].startswith("|dataset|Snt|Chr|")
    assert [line.split("|")[1] for line in lines[2:]] == ["test-other"]


def test_report(exp: Path) -> None:
    text = results.report([exp], "./run.sh --ngpu 8")
    for expected in (
        "- date: `",
        "- python: `3.",
        "- torch: `",
        "- git hash: `",
        "```sh\n./run.sh --ngpu 8\n```",
        "## qf",
    ):
        assert expected in text
    assert text.index("### WER") < text.index("### CER")
    assert "## Command" not in results.report([exp], "")


def test_tables_say_what_the_normalizer_deletes(tmp_path: Path) -> None:
    for name, normalize in (("test", "librispeech"), ("test_english", "english")):
        folder = tmp_path / "exp/decode" / name
        folder.mkdir(parents=True)
        (folder / "ref").write_text("84-1-1 ENTER NINE ONE\n84-1-2 7\n84-1-3 A\n")
        (folder / "hyp").write_text("84-1-1 Enter 91.\n84-1-2 7\n84-1-3\n")
        write_directory(folder / "score", score_files(folder / "ref", folder / "hyp", normalizer(normalize)))
    text = results.report([tmp_path / "exp"], "")
    header, _, librispeech, english = (line.split("|")[1:-1] for line in text.splitlines() if line[:1] == "|")
    columns = [header.index(name) for name in ("Empty", "Emptied", "Stripped")]
    assert [librispeech[k] for k in columns] == ["1", "1", "2 (references: 1)"]
    assert [english[k] for k in columns] == ["1", "0", "0"]
    assert "test: Deleted by normalizer librispeech (1): all words of 1 hypotheses; digits" in text
    assert "test_english: Deleted" not in text
    summary = results.collect(tmp_path / "exp")["test"]
    assert results.removed_by_normalizer(summary) in results.describe(summary)


def test_each_section_has_the_runs_of_its_own_experiment(exp: Path) -> None:
    record = "command: speechllm train {0}\ndate: 2026-01-0{1} 00:00:00\ngit: c{1}\nversions: {{torch: 2.{1}}}\n"
    other = exp.with_name("other")
    make_score(other / "decode/test-clean/score", "84-1-1 A\n85-1-1 E\n")
    for number, path in enumerate((exp, other), 1):
        (path / "run.yaml").write_text(record.format(path.name, number))
    (other / "decode/test-clean/run.yaml").write_text(
        "command: speechllm decode other\ngit: c2\nversions: {torch: 2.5}\n"
        "language: detected\ndetected: {de: 3, en: 1}\n"
    )
    first, second = results.report([exp, other], "./run.sh").split("## other\n")
    assert "- command: `speechllm train qf`\n- date: `2026-01-01 00:00:00`\n- git hash: `c1`\n- torch: `2.1`" in first
    assert "- torch: `2.2`" in second
    assert (
        "- test-clean: command `speechllm decode other`, torch `2.5`, language `detected`, detected `de 3, en 1`\n"
        in second
    )
    assert first.count("./run.sh") == second.count("./run.sh") == 1
    (other / "run.yaml").write_text("- a\n")
    with pytest.raises(DataError, match=r"other/run\.yaml: found list, expected a YAML mapping"):
        results.report([other], "")


def test_environment_of_earlier_versions_stays_while_a_table_of_theirs_does(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    results.update(path, "## Environment\n\nold\n\n## a\n\n1\n\n## b\n\n2\n")
    results.update(path, "## a\n\n3\n")
    assert "## Environment" in path.read_text()
    results.update(path, "## b\n\n4\n\n## a\n\n3\n")
    assert "## Environment" not in path.read_text()


def test_no_score_hides_another(exp: Path) -> None:
    (exp / "decode/test-clean/score.json").write_text((exp / "decode/test-clean/score/score.json").read_text())
    assert list(results.collect(exp))[:2] == ["test-clean", "test-clean/score"]


def test_no_scores(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"decode: found no score\.json"):
        results.collect(tmp_path)


def test_update_creates_the_file_and_replaces_only_its_part(tmp_path: Path) -> None:
    path = tmp_path / "new" / "RESULTS.md"
    results.update(path, "first\n")
    assert path.read_text() == f"# RESULTS\n\n{results.BEGIN}\n\nfirst\n\n{results.END}\n"
    path.write_text("prose before\n" + path.read_text() + "prose after, no newline")
    results.update(path, "second\n")
    assert path.read_text() == (
        f"prose before\n# RESULTS\n\n{results.BEGIN}\n\nsecond\n\n{results.END}\nprose after, no newline"
    )
    once = path.read_bytes()
    results.update(path, "second\n")
    assert path.read_bytes() == once


def test_update_keeps_the_sections_of_other_experiments(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    results.update(path, "## Environment\n\nold\n\n## a\n\n### WER\n\n1\n\n## b\n\n2\n")
    results.update(path, "## Environment\n\nnew\n\n## c\n\n3\n\n## b\n\n4\n")
    expected = "## Environment\n\nnew\n\n## c\n\n3\n\n## b\n\n4\n\n## a\n\n### WER\n\n1\n"
    assert path.read_text() == f"# RESULTS\n\n{results.BEGIN}\n\n{expected}\n{results.END}\n"


@pytest.mark.parametrize(
    "content",
    [
        "no marker\n",
        f"{results.BEGIN}\n",
        f"{results.END}\n{results.BEGIN}\n",
        f"{results.BEGIN}\n{results.END}\n{results.BEGIN}\n{results.END}\n",
    ],
)
def test_update_refuses_wrong_markers(tmp_path: Path, content: str) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(content)
    with pytest.raises(DataError, match=r"RESULTS\.md: found .*, expected one <!-- generated: begin -->"):
        results.update(path, "x\n")
    assert path.read_text() == content

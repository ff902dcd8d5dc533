"""Scores of sets, in the unit of their language."""

import json
from pathlib import Path

import pytest

from speechllm.data.derive.sets import locate
from speechllm.data.kaldi.data_dir import write_language
from speechllm.report import tables
from speechllm.report.compare import compare
from speechllm.report.html import write_report
from speechllm.report.page_scores import headline, scores_table
from speechllm.report.score_sets import score_sets
from speechllm.score.directory import read_summary, read_words

SETS = {
    "zh": ("zh-CN", "今天天气很好，我们去公园。", "今天天汽很好 我们去公园"),  # noqa: RUF001
    "th": ("th", "สวัสดี ครับ", "สวัสดีครับ"),
    "de": ("de", "Guten Tag, Welt!", "guten tag feld"),
}


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    for name, (language, ref, hyp) in SETS.items():
        for folder, text in ((tmp_path / "data" / name, ref), (tmp_path / "exp/decode" / name, hyp)):
            folder.mkdir(parents=True)
            (folder / "text").write_text(f"spk-1 {text}\n")
        (tmp_path / "data" / name / "utt2dur").write_text("spk-1 2.0\n")
        (tmp_path / "exp/decode" / name / "truncated").write_text("")
        write_language(tmp_path / "data" / name, language)
    return tmp_path / "exp"


def score(exp: Path, *names: str, normalizer: str = "whisper-basic") -> str:
    return score_sets(locate(names, exp.parent / "data"), exp, "", normalizer)


def test_a_language_without_spaces_has_a_character_error_rate(exp: Path) -> None:
    text = score(exp, "zh", "de")
    words, characters = tables_of(text)
    assert words[0].startswith("|dataset|Snt|Wrd|") and words[2].startswith("|de|1|3|66.7|33.3|")
    assert characters[0].startswith("|dataset|Snt|Chr|") and characters[2].startswith("|zh|1|11|90.9|9.1|0.0|0.0|9.1|")
    assert "letters split" in characters[2] and "letters split" not in words[2]
    assert len(words) == len(characters) == 3
    assert "zh: CER 9.09%" in text and "raw CER" in text and "de: WER 33.33%" in text
    summary = read_summary(exp / "decode/zh/score/score.json")
    assert (summary.unit, summary.wer.counts.words, summary.raw.words) == ("character", 11, 13)
    assert read_words(exp / "decode/zh/score")[0].errors == 1
    report = tables.report([exp], "./run.sh")
    assert report.index("### WER") < report.index("|de|") < report.index("### CER") < report.index("|zh|")
    assert "9.1% CER" in headline([exp]) and "33.3% WER" in headline([exp])
    assert "zh (CER)" in scores_table([exp]) and "de (CER)" not in scores_table([exp])


def test_comparison_and_plot_name_the_character_error_rate(exp: Path, tmp_path: Path) -> None:
    score(exp, "zh", "de")
    compared = compare(exp, exp, 0)
    assert "|zh (CER)|1|11|9.09|9.09|" in compared and "|de|1|3|33.33|33.33|" in compared
    for name, duration in (("zh", 2.0), ("de", 3.0)):
        row = json.dumps({"utt_id": "spk-1", "duration": duration})
        (exp / "decode" / name / "nbest.jsonl").write_text(f"{row}\n")
    write_report(exp, [], {}, tmp_path / "report.html")
    assert "CER or WER (%)" in (tmp_path / "report.html").read_text()


def test_spaces_do_not_count_and_marks_stay_with_their_letters(exp: Path) -> None:
    text = score(exp, "th", normalizer="none")
    (characters,) = tables_of(text)
    assert characters[2].startswith("|th|1|7|100.0|0.0|0.0|0.0|0.0|0.0|")
    assert "### WER" not in tables.report([exp], "./run.sh")


def tables_of(text: str) -> list[list[str]]:
    """Return the lines of each table of a text."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("|dataset|"):
            found.append([])
        if line.startswith("|"):
            found[-1].append(line)
    return found

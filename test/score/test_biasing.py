"""Error rates of hot words and of others, counted by hand."""

from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.score.biasing import score_biasing
from speechllm.score.normalize import normalizer
from speechllm.score.wer import score

REF = {"a-1": "call doctor lestrade now", "a-2": "the moor is dark", "a-3": "go"}
HYP = {"a-1": "call doctor strade now", "a-2": "the holmes moor is", "a-3": "go"}
CONTEXT = "a-1 lestrade, holmes\na-2 Holmes, moor\na-3\n"


def rows(table: str) -> dict[str, list[str]]:
    cells = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return {one[0].split(" (")[-1].rstrip(")"): one[1:6] for one in cells[2:]}


def test_words_in_the_list_and_others(tmp_path: Path) -> None:
    """Of 9 words 2 are hot: lestrade is substituted; holmes is inserted, which leaks; dark is deleted."""
    (tmp_path / "context").write_text(CONTEXT)
    english = normalizer("whisper-english")
    table = score_biasing(score(REF, HYP, english), tmp_path / "context", english)
    found = rows(table)
    assert found["WER"] == ["9", "11.1", "11.1", "11.1", "33.33"]
    assert found["B-WER"] == ["2", "50.0", "0.0", "50.0", "100.00"]
    assert found["U-WER"] == ["7", "0.0", "14.3", "0.0", "14.29"]
    assert "1 leaks" in table and "1.3 hot words per list" in table


def test_lists_that_are_empty_or_missing(tmp_path: Path) -> None:
    none = normalizer("none")
    (tmp_path / "context").write_text("a-1\na-2\na-3\n")
    found = rows(score_biasing(score(REF, HYP, none), tmp_path / "context", none))
    assert found["B-WER"] == ["0", "-", "-", "-", "-"] and found["U-WER"] == found["WER"]
    (tmp_path / "context").write_text("a-1 x\n")
    with pytest.raises(DataError, match="2 of 3 utterances have no context: a-2, a-3; expected a line for each"):
        score_biasing(score(REF, HYP, none), tmp_path / "context", none)


def test_the_verb_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, texts in (("ref", REF), ("hyp", HYP)):
        (tmp_path / name).write_text("".join(f"{utt_id} {text}\n" for utt_id, text in texts.items()))
    (tmp_path / "context").write_text(CONTEXT.lower())
    files = [str(tmp_path / name) for name in ("ref", "hyp")]
    assert main(["score", *files, "--context", str(tmp_path / "context")]) == 0
    assert "|in the list (B-WER)|2|50.0|0.0|50.0|100.00|" in capsys.readouterr().out

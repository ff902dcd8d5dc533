"""The page: what it holds, and that it needs nothing else."""

import json
import re
from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.score.report import write_report

REF = "1-1 the cat </script><b>sat</b>\n1-2 yes yes\n"
HYP = "1-1 the cat\n1-2 no no no no no\n"


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    decode = tmp_path / "exp/qf<80>/decode"
    for name in ("test", "test_mismatched"):
        (decode / name).mkdir(parents=True)
        (tmp_path / "ref").write_text(REF)
        (decode / name / "text").write_text(HYP)
        assert main(["score", str(tmp_path / "ref"), str(decode / name / "text"), str(decode / name / "score")]) == 0
    rows = [{"utt_id": "1-1", "duration": 3.5}, {"utt_id": "1-2", "duration": 40.0}]
    (decode / "test/nbest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return decode.parent


def data(page: Path) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    sets: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return sets


def test_every_utterance_with_its_alignment(exp: Path, tmp_path: Path) -> None:
    counts = write_report(exp, [], {"test": {"1-1": "../a.flac"}}, tmp_path / "page.html")
    assert counts == {"test": 2, "test_mismatched": 2}
    first, second = data(tmp_path / "page.html")["test"]
    assert first["words"] == [["C", "the", "the"], ["C", "cat", "cat"], ["D", "</script><b>sat</b>", ""]]
    assert (first["errors"], first["length"], first["seconds"], first["audio"]) == (1, 3, 3.5, "../a.flac")
    assert (second["audio"], second["flags"]) == (None, ["loop"])
    assert data(tmp_path / "page.html")["test_mismatched"][0]["seconds"] is None


def test_the_page_asks_for_nothing_and_escapes_names(exp: Path, tmp_path: Path) -> None:
    write_report(exp, [], {}, tmp_path / "page.html")
    page = tmp_path / "page.html"
    text = page.read_text()
    assert "<title>qf&lt;80&gt;</title>" in text
    assert text.count("<script") == text.count("</script>") == 2
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>|(?s:<metadata>.*?</metadata>)', "", text)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)[^\"']*", outside)
    assert "http" not in outside
    assert text.count("<svg") == 2
    assert "0-5 s" in text
    assert "30-60 s" in text


def test_the_verb_puts_other_experiments_beside(exp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exp / "decode").rename(exp.with_name("decode"))
    other = exp.with_name("other")
    other.mkdir()
    exp.with_name("decode").rename(other / "decode")
    assert main(["report", str(other), str(other)]) == 0
    assert "report.html: 2 utterances of test, 2 utterances of test_mismatched" in capsys.readouterr().out
    assert (other / "report.html").read_text().count("<td>other: test</td>") == 2


def test_foreign_durations_are_refused(exp: Path, tmp_path: Path) -> None:
    (exp / "decode/test/nbest.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"nbest\.jsonl: is no nbest\.jsonl of a decoding"):
        write_report(exp, [], {}, tmp_path / "page.html")

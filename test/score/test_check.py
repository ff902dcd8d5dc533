"""Comparison of a score with sclite."""

import shutil
from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.score.check import check_with_sclite

needs_sctk = pytest.mark.skipif(not shutil.which("sctk"), reason="sctk is not on PATH")


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    (tmp_path / "ref").write_text("1-a the cat sat\n2-b yes\n")
    (tmp_path / "hyp").write_text("1-a the cat\n2-b no\n")
    return [str(tmp_path / name) for name in ("ref", "hyp", "out")]


@needs_sctk
def test_it_agrees_or_shows_the_lines_that_differ(
    texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", *texts, "--check"]) == 0
    assert "result.txt: sctk sclite agrees" in capsys.readouterr().out
    path = tmp_path / "out/result.txt"
    path.write_text(path.read_text().replace("SPKR", "spkr"))
    with pytest.raises(DataError, match=r"writes another result\.txt(.|\n)*\+.*spkr"):
        check_with_sclite(tmp_path / "out")


@needs_sctk
def test_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.stm").write_text("f A s 0 2 <o> so (uh) { i'm / i am } here\n")
    (tmp_path / "a.ctm").write_text("f A 0 1 so\nf A 1 .5 i\nf A 1.5 .5 am\n")
    assert main(["score", *(str(tmp_path / name) for name in ("a.stm", "a.ctm", "out")), "--check"]) == 0
    assert "agrees" in capsys.readouterr().out


def test_what_cannot_be_checked(
    texts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["score", *texts[:2], "--check"]) == 1
    assert "--check: found no OUT" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["score", *texts, "--check"]) == 1
    assert "apt-get install sctk" in capsys.readouterr().err

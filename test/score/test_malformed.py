"""Malformed references, hypotheses and mappings: a fast error of one sentence with file and line."""

import time
from pathlib import Path

import pytest

from speechllm.bin import main

STM = "r 1 s 0 2 <o> a b c\n"
CTM = "r 1 0 .5 a\nr 1 1 .2 b\n"
GLM = "[A] => [B] / [ ] __ [ ]\n"
BOM = "\ufeff"
NESTED = "{ a / " * 2000 + "b" + " }" * 2000


def score(folder: Path, files: dict[str, str], *options: str) -> int:
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    ref, hyp = list(files)[:2]
    return main(["score", str(folder / ref), str(folder / hyp), *options])


@pytest.mark.parametrize(
    ("stm", "message"),
    [
        (f"{STM}r 1 s 2 3 {{ a / b\n", "x.stm:2, or its words in x.ctm: { a / b: found a brace that is not closed"),
        (f"{STM}r 1 s 2 3 a }}\n", "x.stm:2, or its words in x.ctm: a }: found a brace or slash without an opening"),
        (f"r 1 s 0 2 {NESTED}\n", "...: found alternatives nested more than 50 deep"),
        ("r 1 s 0 inf a\n", "x.stm:1: found 0 to inf s"),
        ("r 1 s nan 2 a\n", "x.stm:1: found nan to 2 s"),
        (f"{STM}r 1 s 2 3 a\0b\n", "x.stm:2: found a NUL character"),
        ("r 1 s 0 2 IGNORE_TIME_SEGMENT_IN_SCORING\n", "x.stm: found no segment to score"),
        ("r 1 s 0 2 { @ }\n", "references: found 0 words"),
    ],
)
def test_stm(tmp_path: Path, capsys: pytest.CaptureFixture[str], stm: str, message: str) -> None:
    assert score(tmp_path, {"x.stm": stm, "x.ctm": CTM}) == 1
    error = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert message in error
    assert len(error) < 500


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("r 1 nan .5 a", "x.ctm:3: expected: recording channel begin duration word [confidence], with finite times"),
        ("r 1 1 -.5 a", "x.ctm:3: expected"),
        ("r 1 1 inf a", "x.ctm:3: expected"),
        ("r 2 1 1 a", "x.ctm: word 'a' at 1 s: found it in recording r, channel 2"),
        ("r 1 * * <ALT_BEGIN>", "x.stm:1, or its words in x.ctm: a b {: found a brace that is not closed"),
    ],
)
def test_ctm(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    assert score(tmp_path, {"x.stm": STM, "x.ctm": f"{CTM}{line}\n"}) == 1
    assert message in capsys.readouterr().err.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("glm", "message"),
    [
        (f"{GLM}[A => B\n", "x.glm:2: found '[A => B', expected a rule such as"),
        (f"{GLM}[A] => {{X / Y / [ ] __ [ ]\n", "x.glm:2: found"),
        (f"{GLM}[A] => }} X {{ / [ ] __ [ ]\n", "x.glm:2: } X {: found a brace"),
        (f';; INPUT_DEPENDENT_APPLICATION = "(["\n{GLM}', "x.glm:1: found '([' (unterminated character set"),
        ("a ;; => b\n", "x.glm: found no rule for stm and ref"),
    ],
)
def test_glm(tmp_path: Path, capsys: pytest.CaptureFixture[str], glm: str, message: str) -> None:
    files = {"x.stm": STM, "x.ctm": CTM, "x.glm": glm}
    assert score(tmp_path, files, "--glm", str(tmp_path / "x.glm")) == 1
    assert message in capsys.readouterr().err.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("a (s-1)\n{ a / b (s-2)\n", "r.trn:2: utterance s-2: { a / b: found a brace that is not closed"),
        (f"{NESTED} (s-1)\nb (s-2)\n", "found alternatives nested more than 50 deep"),
        ("@ (s-1)\n@ (s-2)\n", "references: found 0 words"),
        ("a (s-1)\nb\0 (s-2)\n", "r.trn:2: found a NUL character"),
    ],
)
def test_trn(tmp_path: Path, capsys: pytest.CaptureFixture[str], ref: str, message: str) -> None:
    assert score(tmp_path, {"r.trn": ref, "h.trn": "a (s-1)\nb (s-2)\n"}) == 1
    assert message in capsys.readouterr().err.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
def test_durations(tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    files = {"ref": "s a\n", "hyp": "s a\n", "utt2dur": f"s {seconds}\n"}
    assert score(tmp_path, files, "--utt2dur", str(tmp_path / "utt2dur")) == 1
    assert f"utt2dur:1: expected an utterance id and seconds, found 's {seconds}'" in capsys.readouterr().err


def test_byte_order_marks_are_left_out_also_of_concatenated_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glm = ["--glm", str(tmp_path / "x.glm")]
    marked = {"x.stm": f"{BOM}{STM}{BOM}r 1 s 2 3 a\n", "x.ctm": f"{BOM}{CTM}{BOM}r 1 2.5 .1 a\n", "x.glm": BOM + GLM}
    assert score(tmp_path, marked, *glm) == 0
    first = capsys.readouterr().out
    assert score(tmp_path, {name: content.replace(BOM, "") for name, content in marked.items()}, *glm) == 0
    assert capsys.readouterr().out.splitlines()[5:] == first.splitlines()[5:]  # below the digest of the GLM
    trn = f"{BOM}a b (s-1)\n{BOM}c (s-2)\n"
    assert score(tmp_path, {"r.trn": trn, "h.trn": trn.replace(BOM, "")}) == 0
    assert "WER 0.00%" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "{ " + " / ".join(f"w{k}" for k in range(2000)) + " }",
        "{ a / b } " * 600,
        "(a) " * 600,
        "{ a / b } " * 20_000,
    ],
)
def test_many_alternatives_take_seconds_or_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    ctm = "".join(f"r 1 {k / 500} .001 {'ab'[k % 2]}\n" for k in range(300))
    start = time.process_time()
    status = score(tmp_path, {"x.stm": f"r 1 s 0 2 {text}\n", "x.ctm": ctm})
    assert time.process_time() - start < 10
    assert status == 0 or "expected a product of at most 5000000" in capsys.readouterr().err

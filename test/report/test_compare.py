"""The verb `compare` as a user calls it."""

from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.report.compare import compare

REF = "".join(f"1-{k} a b c d e\n" for k in range(20))
GOOD = REF.replace("1-3 a b", "1-3 a")
BAD = "".join(f"1-{k} a b x d e\n" if k % 2 else f"1-{k} a b c d e\n" for k in reversed(range(20)))


def scored(folder: Path, hyp: str, set_: str = "test", normalizer: str = "none", ref: str = REF) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ref").write_text(ref)
    (folder / "hyp").write_text(hyp)
    out = folder / "decode" / set_ / "score"
    assert main(["score", str(folder / "ref"), str(folder / "hyp"), str(out), "--normalizer", normalizer]) == 0
    return folder


def test_difference_test_and_what_changed_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = scored(tmp_path / "one", GOOD), scored(tmp_path / "other", BAD)
    scored(other, GOOD, "only_here")
    capsys.readouterr()
    assert main(["compare", str(one), str(other), "--show", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"A: {one}"
    assert out[5].startswith("|test|20|100|1.00|10.00|-9.00|")
    assert out[5].endswith("|10|-9.00|< 0.001|none (1)|")
    assert out[7:] == ["test 1-1: 0 and 1 errors in 5 words", "REF: a b c d e", "A  : a b c d e", "B  : a b x d e"]


def test_score_directories_may_have_other_names(tmp_path: Path) -> None:
    one, other = scored(tmp_path / "one", GOOD), scored(tmp_path / "other", BAD, "elsewhere")
    assert "|test|20|" in compare(one / "decode/test/score", other / "decode/elsewhere/score", 0)


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = scored(tmp_path / "one", GOOD)
    for name, other, message in (
        ("set", scored(tmp_path / "set", BAD, "dev"), "no set was scored in both, found test and dev"),
        (
            "names",
            scored(tmp_path / "names", BAD, normalizer="librispeech"),
            "normalizers none (1) and librispeech (1)",
        ),
        ("refs", scored(tmp_path / "refs", BAD, ref=REF.replace("1-7 a", "1-7 z")), "expected the same utterances"),
        ("fewer", scored(tmp_path / "fewer", GOOD[14:], ref=REF[14:]), "expected the same"),
    ):
        assert main(["compare", str(one), str(other)]) == 1, name
        assert message in capsys.readouterr().err

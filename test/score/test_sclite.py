"""result.txt: equality with sclite byte by byte where it is installed, and its table and alignments."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from speechllm.score import transcripts, wer
from speechllm.score.analysis import by_position, confusions
from speechllm.score.normalize import normalizer
from speechllm.score.sclite import format_result
from speechllm.score.wer import ScoredUtterance

SCLITE = ["sclite"] if shutil.which("sclite") else ["sctk", "sclite"]
needs_sclite = pytest.mark.skipif(
    not (shutil.which("sclite") or shutil.which("sctk")), reason="neither sclite nor sctk is on PATH"
)
NONE = normalizer("none")


def ours(ref: dict[str, str], hyp: dict[str, str]) -> str:
    return format_result(wer.score(ref, hyp, NONE))


def theirs(ref: dict[str, str], hyp: dict[str, str], folder: Path) -> str:
    (folder / "ref.trn").write_text(transcripts.trn_lines(ref.items()), encoding="utf-8")
    (folder / "hyp.trn").write_text(transcripts.trn_lines((k, hyp[k]) for k in ref), encoding="utf-8")
    files = ["-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
    options = ["-i", "rm", "-s", "-e", "utf-8", "-o", "sum", "pralign", "stdout"]
    return subprocess.run([*SCLITE, *files, *options], cwd=folder, capture_output=True, check=True).stdout.decode()


def drawn(
    seed: int, number: int, speakers: int, longest: int, words: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return random references, and hypotheses that are unrelated or have words left out."""
    draw = random.Random(seed)
    ref, hyp = {}, {}
    for k in range(number):
        utt_id = f"{draw.randrange(speakers)}-{k}"
        said = draw.choices(words, k=draw.randint(1, longest))
        other = draw.choices(words, k=draw.randint(0, longest))
        ref[utt_id] = " ".join(said)
        hyp[utt_id] = " ".join(other if draw.random() < 0.7 else [word for word in said if draw.random() < 0.8])
    return ref, hyp


@needs_sclite
@pytest.mark.parametrize(
    ("number", "speakers", "longest", "words"),
    [
        (3000, 40, 12, ["a", "b"]),
        (3000, 41, 12, ["a", "b", "c"]),
        (3000, 250, 12, ["a", "b", "c", "d"]),
        (1, 1, 5, ["a", "b"]),
        (2, 2, 5, ["a", "b"]),
        (30, 3, 5, ["Case", "case", "CASE"]),
        (60, 4, 20, ["\u00e9t\u00e9", "na\u00efve", "x", "\u4e2d\u6587"]),
        (20, 2, 400, ["a" * k for k in range(1, 20)]),  # several blocks of lines
        (2, 1, 1500, ["a", "bb", "ccc"]),
        (6000, 1, 40, ["a", "b"]),  # more than 99,999 words: wider columns
    ],
)
def test_same_text_as_sclite(tmp_path: Path, number: int, speakers: int, longest: int, words: list[str]) -> None:
    ref, hyp = drawn(number + speakers, number, speakers, longest, words)
    assert ours(ref, hyp) == theirs(ref, hyp, tmp_path)


@needs_sclite
def test_same_text_as_sclite_for_many_small_tables(tmp_path: Path) -> None:
    for seed in range(60):
        ref, hyp = drawn(
            seed, random.Random(seed).randint(1, 12), random.Random(seed).randint(1, 5), 6, ["a", "b", "c"]
        )
        assert ours(ref, hyp) == theirs(ref, hyp, tmp_path), f"seed {seed}"


@needs_sclite
def test_same_text_as_sclite_for_a_speaker_without_reference_words(tmp_path: Path) -> None:
    ref = {"s-1": "a b", "s-2": "", "t-1": "", "u-1": "c", "u-2": "a b c"}
    hyp = {"s-1": "a", "s-2": "", "t-1": "a b", "u-1": "c", "u-2": ""}
    assert ours(ref, hyp) == theirs(ref, hyp, tmp_path)


@needs_sclite
def test_same_text_as_sclite_for_mostly_correct_hypotheses(tmp_path: Path) -> None:
    draw = random.Random(7)
    ref, hyp = {}, {}
    for k in range(1500):
        words = draw.choices(["a", "bb", "a", "\u00e9t\u00e9", "ccc"], k=draw.randint(1, 400 if k % 100 == 0 else 12))
        changed = [word for word in words if draw.random() < 0.97]
        ref[f"{k % 7}-{k}"] = " ".join(words)
        hyp[f"{k % 7}-{k}"] = " ".join(words if k % 2 else changed + draw.choices(["a", "x"], k=k % 5 == 0))
    assert ours(ref, hyp) == theirs(ref, hyp, tmp_path)


def test_a_pair_of_equal_texts_may_hold_an_error() -> None:
    one = ScoredUtterance(utt_id="s-1", ref=["(uh)", "a"], hyp=["(uh)", "a"], alignment="SC")
    assert "Eval: S      \n" in format_result([one])
    assert confusions([one]) == {("(uh)", "(uh)"): 1}
    assert by_position([one])[2] == (1, 0, 1)


def test_table_and_alignment() -> None:
    ref = {"84-121123-0005": "a b c d", "84-121123-0006": "the cat", "85-1-0001": "x"}
    text = ours(ref, {"84-121123-0005": "a c c d e", "84-121123-0006": "", "85-1-0001": "x"})
    assert "| 84     |    2      6 | 50.0   16.7   33.3   16.7   66.7  100.0 |" in text
    assert "| Sum/Avg|    3      7 | 57.1   14.3   28.6   14.3   57.1   66.7 |" in text
    assert "|  Mean  |  1.5    3.5 | 75.0    8.3   16.7    8.3   33.3   50.0 |" in text
    assert (
        "id: (84-84-121123-0005)\nScores: (#C #S #D #I) 3 1 0 1\nAttributes: Case_sensitve \n"
        "REF:  a b c d * \nHYP:  a c c d e \nEval:   S     I \n"
    ) in text


@pytest.mark.parametrize("word", ["{", "}", "/", "@", ";;", "(x)", "\\", "%", "**", "x" * 1200])
def test_special_words_are_words(word: str) -> None:
    text = ours({"a-1": f"b {word} c"}, {"a-1": "b d c"})
    assert "Scores: (#C #S #D #I) 2 1 0 0" in text

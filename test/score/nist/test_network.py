"""Alignment with alternatives, optional words and fragments, against the real sclite."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.score.directory import score_files
from speechllm.score.nist.network import align_network, matches
from speechllm.score.normalize import normalizer
from speechllm.score.sclite import format_result

needs_sctk = pytest.mark.skipif(not shutil.which("sctk"), reason="sctk is not on PATH")
Counts = tuple[int, int, int, int]


def ours(ref: str, hyp: str) -> Counts:
    letters = "".join(column.letter for column in align_network(ref.split(), hyp.split())).replace("O", "C")
    return letters.count("C"), letters.count("S"), letters.count("D"), letters.count("I")


def cost(counts: Counts) -> int:
    return 4 * counts[1] + 3 * (counts[2] + counts[3])


def theirs(pairs: list[tuple[str, str]], folder: Path) -> dict[int, Counts]:
    for name, side in (("ref.trn", 0), ("hyp.trn", 1)):
        (folder / name).write_text("".join(f"{pair[side]} (s-{k})\n" for k, pair in enumerate(pairs)))
    command = ["sctk", "sclite", "-i", "rm", "-s", "-F", "-D", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
    command += ["-o", "pralign", "stdout"]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"id: \(s-(\d+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", out)
    return {int(k): (int(c), int(s), int(d), int(i)) for k, c, s, d, i in found}


def drawn(draw: random.Random, words: list[str], alternatives: float, optional: float, longest: int) -> str:
    parts = []
    for _ in range(draw.randint(1, longest)):
        kind = draw.random()
        if kind < alternatives:
            # no alternative twice: which of two that are the same is taken makes no difference that one could see
            several = {" ".join(draw.choices(words, k=draw.randint(1, 2))) for _ in range(draw.randint(2, 3))}
            if draw.random() < 0.4:
                several.add("@")
            parts.append("{ " + " / ".join(sorted(several, key=lambda _: draw.random())) + " }")
        else:
            word = draw.choice(words)
            parts.append(f"({word})" if kind < alternatives + optional else word)
    return " ".join(parts)


@needs_sctk
@pytest.mark.parametrize(
    ("words", "recognised", "alternatives", "optional"),
    [
        (["a", "b", "c"], ["a", "b", "c"], 0.3, 0.0),
        (["a", "b", "c"], ["a", "b", "c"], 0.0, 0.3),
        (["a", "b"], ["a", "b"], 0.3, 0.2),
        (["a", "b", "ab-", "a-", "ba", "-b", "-ab", "-"], ["a", "b", "ab", "ba", "abb", "a-", "-b", "-"], 0.1, 0.1),
        (["uh", "going", "to", "gonna", "wor-"], ["uh", "going", "to", "gonna", "world"], 0.2, 0.2),
    ],
)
def test_counts_are_sclites(
    words: list[str], recognised: list[str], alternatives: float, optional: float, tmp_path: Path
) -> None:
    draw = random.Random(1)
    pairs = [
        (drawn(draw, words, alternatives, optional, 8), " ".join(draw.choices(recognised, k=draw.randint(0, 8))))
        for _ in range(2500)
    ]
    found = theirs(pairs, tmp_path)
    assert len(found) == len(pairs)
    wrong = {pairs[k]: (ours(*pairs[k]), counts) for k, counts in found.items() if ours(*pairs[k]) != counts}
    assert len(wrong) <= (4 if alternatives else 0), wrong
    if not optional:
        assert all(cost(one) == cost(other) for one, other in wrong.values())


def test_the_wording_that_fits_is_shown() -> None:
    said, recognised = "well { gonna / going to / @ } go (uh) wor- home", "well going to go world"
    columns = align_network(said.split(), recognised.split())
    assert columns == [
        ("C", "well", "well"),
        ("C", "going", "going"),
        ("C", "to", "to"),
        ("C", "go", "go"),
        ("O", "(uh)", ""),
        ("C", "wor-", "world"),
        ("D", "home", ""),
    ]


def test_nested_and_empty_alternatives() -> None:
    assert ours("{ a { b / c } / { } } d", "a c d") == (3, 0, 0, 0)
    assert ours("{ a { b / c } / { } } d", "d") == (1, 0, 0, 0)
    assert ours("a / b", "a / b") == (3, 0, 0, 0)  # a slash is a word where there is nothing to separate


@pytest.mark.parametrize("text", ["{ a / b", "a }", "{ a } }"])
def test_braces_must_match(text: str) -> None:
    with pytest.raises(DataError, match="expected { a / b }"):
        align_network(text.split(), ["a"])


def test_fragments() -> None:
    assert matches("wor-", "world")
    assert matches("world", "wor-")
    assert matches("-ld", "world")
    assert not matches("wor-", "wo-")
    assert not matches("-", "a")


@needs_sctk
def test_alternatives_in_a_trn_file(tmp_path: Path) -> None:
    """In hypotheses sclite does not interpret optional words and fragments by default."""
    refs = ["{a / b} c", "x {a b/c d} y", "a (uh) wor- b", "a @ b", "a / b"]
    hyps = ["b c", "x c d y", "a world b", "a b", "a / b"]
    for name, texts in (("ref.trn", refs), ("hyp.trn", hyps)):
        (tmp_path / name).write_text("".join(f"{text} (s-{k})\n" for k, text in enumerate(texts)))
    command = ["sctk", "sclite", "-i", "rm", "-s", "-e", "utf-8", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn"]
    command += ["-o", "sum", "pralign", "stdout"]
    theirs = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    scored = score_files(tmp_path / "ref.trn", tmp_path / "hyp.trn", normalizer("none"))
    assert format_result(scored.words).replace("(s-s-", "(s-") == theirs


def test_a_brace_that_is_not_closed_names_the_utterance(tmp_path: Path) -> None:
    (tmp_path / "ref.trn").write_text("{ a / b (s-1)\n")
    with pytest.raises(DataError, match="s-1: { a / b: found a brace that is not closed"):
        score_files(tmp_path / "ref.trn", tmp_path / "ref.trn", normalizer("none"))

"""The matched-pair test compared with NIST's sc_stats, and the difference of the word error rates."""

import math
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.score import transcripts, wer
from speechllm.score.matched_pairs import error_segments, matched_pairs
from speechllm.score.normalize import normalizer

SCLITE = ["sctk", "sclite", "-i", "rm", "-s", "-r", "ref.trn", "trn"]
NONE = normalizer("none")


def hypothesis(draw: random.Random, said: list[str], rate: float, words: str) -> str:
    out = []
    for word in said:
        kind = draw.random() / rate
        if kind >= 1 / 3:
            out.append(word if kind >= 2 / 3 else draw.choice(words))
        if 2 / 3 <= kind < 1:
            out.append(draw.choice(words))
    return " ".join(out)


def drawn(seed: int, number: int, rates: tuple[float, float], words: str) -> list[dict[str, str]]:
    """Return references, and hypotheses of two systems with given error rates."""
    draw = random.Random(seed)
    said = {f"s{k % 5}-{k}": draw.choices(words, k=draw.randint(1, 25)) for k in range(number)}
    systems = [{utt_id: hypothesis(draw, spoken, rate, words) for utt_id, spoken in said.items()} for rate in rates]
    return [{utt_id: " ".join(spoken) for utt_id, spoken in said.items()}, *systems]


@pytest.mark.skipif(not shutil.which("sctk"), reason="sctk is not on PATH")
@pytest.mark.parametrize(
    ("number", "rates", "words"),
    [
        (60, (0.15, 0.25), "abcdefgh"),
        (200, (0.3, 0.3), "abcd"),
        (100, (0.05, 0.04), "abcdefghijkl"),
        (30, (0.5, 0.1), "abc"),
        (40, (0.02, 0.5), "abcde"),
    ],
)
def test_same_as_sc_stats(number: int, rates: tuple[float, float], words: str, tmp_path: Path) -> None:
    ref, one, other = drawn(number, number, rates, words)
    for name, texts in (("ref", ref), ("one", one), ("other", other)):
        (tmp_path / f"{name}.trn").write_text(transcripts.trn_lines(texts.items()))
    sgml = "".join(
        subprocess.run(
            [*SCLITE, "-h", f"{name}.trn", "trn", name, "-o", "sgml", "stdout"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in ("one", "other")
    )
    command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", "-v"]
    subprocess.run(command, cwd=tmp_path, input=sgml, capture_output=True, text=True, check=True)
    written = (tmp_path / "Ensemble.stats.mapsswe").read_text(errors="replace")  # it holds bytes that are no text
    theirs = re.search(r"# segs: (\d+).*mean: (\S+)\) \(std dev: (\S+)\) \(Z Stat: (\S+)\)", written)
    assert theirs is not None
    ours = matched_pairs(wer.score(ref, one, NONE), wer.score(ref, other, NONE))
    found = (str(ours.segments), f"{ours.mean:.3f}", f"{ours.deviation:.3f}", f"{ours.z:.3f}")
    assert found == theirs.groups()


def test_segments_end_where_both_have_two_words_right() -> None:
    assert error_segments("CCC", "CCC") == []
    assert error_segments("SCS", "CCC") == [(2, 0)]
    assert error_segments("SCCS", "CCCD") == [(1, 0), (1, 1)]
    assert error_segments("SCCS", "CICCD") == [(1, 1), (1, 1)]
    assert error_segments("SCICS", "CCCC") == [(3, 0)]  # an insertion is between the two


def test_difference_and_its_interval() -> None:
    ref, one, other = drawn(1, 300, (0.3, 0.2), "abcdefgh")
    found = matched_pairs(wer.score(ref, one, NONE), wer.score(ref, other, NONE))
    rates = [wer.count(wer.score(ref, hyp, NONE)).percentages[4] for hyp in (one, other)]
    assert found.difference == pytest.approx(rates[0] - rates[1])
    assert 0 < found.interval[0] < found.difference < found.interval[1]
    assert found.p < 0.001
    swapped = matched_pairs(wer.score(ref, other, NONE), wer.score(ref, one, NONE))
    assert swapped.z == -found.z


def test_the_same_system_twice_does_not_differ() -> None:
    ref, one, _ = drawn(1, 20, (0.3, 0.2), "abcdefgh")
    found = matched_pairs(wer.score(ref, one, NONE), wer.score(ref, one, NONE))
    assert (found.difference, found.z, found.p, found.interval) == (0, 0, 1, (0, 0))


def test_a_constant_difference_is_certain() -> None:
    ref = {"a-1": "x y z a", "a-2": "x y z b"}
    found = matched_pairs(wer.score(ref, {"a-1": "x y z", "a-2": "x y z"}, NONE), wer.score(ref, ref, NONE))
    assert (found.z, found.p) == (math.inf, 0)


def test_other_references_are_refused() -> None:
    one = wer.score({"a-1": "x"}, {"a-1": "x"}, NONE)
    with pytest.raises(DataError, match="expected the same utterances with the same normalisation"):
        matched_pairs(one, wer.score({"a-1": "y"}, {"a-1": "x"}, NONE))
    with pytest.raises(DataError, match="found 1 and 2 utterances"):
        matched_pairs(one, wer.score({"a-1": "x", "a-2": "x"}, {"a-1": "x", "a-2": "x"}, NONE))

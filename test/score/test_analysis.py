"""Error analysis."""

from speechllm.score import analysis, wer
from speechllm.score.normalize import normalizer

NONE = normalizer("none")
REF = {"1-a": "a b c d e f g h i j", "1-b": "a b", "2-a": "x"}
HYP = {"1-a": "a b z d e f g h", "1-b": "a b c", "2-a": "x"}
UTTERANCES = wer.score(REF, HYP, NONE)
DURATIONS = {"1-a": 30.0, "1-b": 30.01, "2-a": 4.0}


def errors(groups: dict[str, wer.Counts]) -> dict[str, int]:
    return {name: counts.errors for name, counts in groups.items()}


def test_by_duration_and_by_segments() -> None:
    assert errors(analysis.by_duration(UTTERANCES, DURATIONS)) == {"0-5 s": 0, "20-30 s": 3, "30-60 s": 1}
    assert errors(analysis.by_segments(UTTERANCES, DURATIONS)) == {"1": 3, "2": 1}
    assert errors(analysis.by_duration(UTTERANCES[2:], {"2-a": 120.5})) == {"over 120 s": 0}
    assert errors(analysis.by_segments(UTTERANCES[2:], {"2-a": 60.0})) == {"2": 0}


def test_by_position() -> None:
    words, deleted, substituted = zip(*analysis.by_position(UTTERANCES), strict=True)
    assert words == (1, 1, 2, 1, 1, 2, 1, 2, 1, 1)  # two words are in the middle of each half, one in that of all
    assert deleted == (0, 0, 0, 0, 0, 0, 0, 0, 1, 1)
    assert substituted == (0, 0, 1, 0, 0, 0, 0, 0, 0, 0)


def test_confusions() -> None:
    assert analysis.confusions(UTTERANCES) == {("c", "z"): 1, ("i", ""): 1, ("j", ""): 1, ("", "c"): 1}


def test_description_has_a_table_of_each_and_leaves_out_what_is_not_known() -> None:
    text = analysis.describe(UTTERANCES, DURATIONS)
    assert "|30-60 s|1|2|100.0|0.0|0.0|50.0|50.0|100.0|" in text
    assert "|1|2|12|75.0|8.3|16.7|8.3|33.3|100.0|" in text
    assert "|9|1|100.0|0.0|" in text
    assert "|1|c -> z|" in text
    assert "duration" not in analysis.describe(UTTERANCES, None)

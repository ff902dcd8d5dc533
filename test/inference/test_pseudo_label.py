"""Pseudo-labels: the filter of hypotheses, and data directories made of hypotheses that pass it."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from speechllm.data.kaldi.data_dir import Utterance, read_data_dir, read_table, write_data_dir
from speechllm.errors import ConfigError, DataError
from speechllm.inference.pseudo_label import Filter, mean_log_prob, write_pseudo_labelled
from speechllm.interfaces import Hypothesis
from speechllm.score.normalize import normalizer


def hypothesis(text: str, log_prob: float = -0.1, *, truncated: bool = False) -> Hypothesis:
    """Return a hypothesis whose tokens are its words, with one log-probability."""
    words = text.split()
    tokens = [(word, log_prob) for word in words]
    return Hypothesis(text=text, score=0.0, num_tokens=len(words), truncated=truncated, tokens=tokens)


GOOD = "he hoped there would be stew"


@pytest.mark.parametrize(
    ("found", "duration", "reason"),
    [
        (hypothesis(GOOD), 2.0, None),
        (hypothesis(""), 2.0, "empty"),
        (hypothesis(GOOD, truncated=True), 2.0, "truncated"),
        (hypothesis("so on and on and on and on and on"), 2.5, "repetition loop"),
        (hypothesis("very very very well then"), 2.0, None),
        (hypothesis(GOOD), 1.0, "length ratio: 28.0 characters per second"),
        (hypothesis(GOOD), 10.0, "length ratio: 2.8 characters per second"),
        (hypothesis(GOOD, -0.31), 2.0, "confidence: -0.31"),
        (hypothesis(GOOD, -0.29), 2.0, None),
    ],
)
def test_reasons_to_drop_an_utterance(found: Hypothesis, duration: float, reason: str | None) -> None:
    assert Filter().reason(found, duration) == reason


def test_a_hypothesis_without_token_scores_has_no_confidence() -> None:
    found = Hypothesis(text=GOOD, score=0.0, num_tokens=6, truncated=False)
    assert Filter().reason(found, 2.0) == "no confidence: longer than a window"


def test_the_confidence_is_the_mean_over_tokens() -> None:
    found = Hypothesis(text="a b", score=0.0, num_tokens=2, truncated=False, tokens=[("a", -0.1), (" b", -0.5)])
    assert mean_log_prob(found) == pytest.approx(-0.3)


@pytest.mark.parametrize("values", [{"min_confidence": 0.1}, {"min_rate": 9, "max_rate": 9}, {"min_rate": -1}])
def test_filters_that_drop_everything_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"found .*, expected"):
        Filter(**values)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Return a data directory of three utterances of 2 s, with hypotheses in a sibling directory."""
    texts = {"s-1": "HE HOPED THERE WOULD BE STEW", "s-2": "NOT WHAT WAS READ AT ALL HERE", "s-3": "A B C"}
    write_data_dir(
        tmp_path / "speech",
        [
            Utterance(utt_id=utt_id, speaker="s", path=Path(f"/audio/{utt_id}.wav"), duration=2.0, text=text)
            for utt_id, text in texts.items()
        ],
    )
    decoded = {"s-1": hypothesis(f"{GOOD}."), "s-2": hypothesis("something else instead"), "s-3": hypothesis("", -3)}
    (tmp_path / "decoded").mkdir()
    rows = ({"utt_id": utt_id, "nbest": [asdict(one)]} for utt_id, one in decoded.items())
    (tmp_path / "decoded" / "nbest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "speech"


def label(speech: Path, keep: Filter) -> Path:
    out = speech.with_name("out")
    write_pseudo_labelled(speech, speech.with_name("decoded"), out, keep, normalizer("librispeech"))
    return out


def test_hypotheses_that_pass_are_the_transcripts(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = label(speech, Filter())
    assert {utt.utt_id: utt.text for utt in read_data_dir(out).utts} == {
        "s-1": "HE HOPED THERE WOULD BE STEW",
        "s-2": "SOMETHING ELSE INSTEAD",
    }
    assert read_table(out / "dropped") == {"s-3": "empty"}
    assert "dropped 1 utterances (empty 1)" in capsys.readouterr().err


def test_a_transcript_without_the_digits_of_the_hypothesis_is_dropped(speech: Path) -> None:
    nbest = speech.with_name("decoded") / "nbest.jsonl"
    nbest.write_text(nbest.read_text().replace(f"{GOOD}.", f"{GOOD} for 12."))
    out = label(speech, Filter())
    assert [utt.utt_id for utt in read_data_dir(out).utts] == ["s-2"]
    assert read_table(out / "dropped")["s-1"].startswith("deleted characters: librispeech")


def test_transcripts_that_agree_with_the_hypothesis_are_kept(speech: Path) -> None:
    out = label(speech, Filter(max_wer=20))
    assert [utt.text for utt in read_data_dir(out).utts] == ["HE HOPED THERE WOULD BE STEW"]
    assert read_table(out / "dropped")["s-2"] == "disagreement: 100% WER"


def test_a_second_run_changes_nothing_and_another_filter_does(speech: Path) -> None:
    out = label(speech, Filter())
    before = (out / "text").stat().st_mtime_ns
    assert (label(speech, Filter()) / "text").stat().st_mtime_ns == before
    label(speech, Filter(min_rate=12))
    assert [utt.utt_id for utt in read_data_dir(out).utts] == ["s-1"]


def test_nothing_left_is_an_error_with_the_counts(speech: Path) -> None:
    with pytest.raises(DataError, match=r"found no usable utterance \(confidence 2, empty 1\)"):
        label(speech, Filter(min_confidence=-0.01))

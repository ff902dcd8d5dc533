"""The score directory: its files, and nothing written for invalid input."""

import json
from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.score import transcripts
from speechllm.score.directory import Summary, read_summary, score_files, write_directory, write_whole
from speechllm.score.normalize import normalizer

REF = "84-1-1 THE CAT\n84-1-2 SAT\n85-1-1 YES YES\n"
HYP = "85-1-1\n84-1-1 the cat\n84-1-2 no no no no\n"


def run(
    folder: Path,
    *,
    ref: str = REF,
    hyp: str = HYP,
    name: str = "librispeech",
    cut: str | None = None,
    chars: bool = False,
) -> Summary:
    (folder / "ref").write_text(ref)
    (folder / "hyp").write_text(hyp)
    if cut is not None:
        (folder / "cut").write_text(cut)
    truncated = None if cut is None else folder / "cut"
    scored = score_files(folder / "ref", folder / "hyp", normalizer(name), truncated=truncated, characters=chars)
    write_directory(folder / "out" / "score", scored)
    return scored.summary


def test_files_and_summary(tmp_path: Path) -> None:
    summary = run(tmp_path, cut="84-1-2\n", chars=True)
    out = tmp_path / "out" / "score"
    assert sorted(path.name for path in out.iterdir()) == [
        "analysis.md",
        "hyp.trn",
        "hyp_cer.trn",
        "ref.trn",
        "ref_cer.trn",
        "result.txt",
        "result_cer.txt",
        "score.json",
    ]
    assert (out / "hyp.trn").read_text() == "THE CAT (84-84-1-1)\nNO NO NO NO (84-84-1-2)\n (85-85-1-1)\n"
    assert (out / "ref_cer.trn").read_text().splitlines()[0] == "T H E <space> C A T (84-84-1-1)"
    assert summary.wer.counts.words == 5
    assert summary.wer.counts.errors == 1 + 3 + 2
    assert summary.cer is not None
    assert summary.cer.counts.words == 7 + 3 + 7
    assert (summary.empty, summary.loops, summary.truncated) == (["85-1-1"], ["84-1-2"], ["84-1-2"])
    assert summary.normalizer == "librispeech (1)"
    assert (summary.deletion_bursts, summary.refusals) == ([], [])
    assert summary.raw.errors == 2 + 4 + 2
    assert summary.successful is not None
    assert (summary.successful.counts.sentences, summary.successful.counts.errors) == (2, 2)


def test_empty_and_emptied_hypotheses_are_counted_apart(tmp_path: Path) -> None:
    summary = run(tmp_path, ref="84-1-1 NINE\n84-1-2 5\n84-1-3 A B\n", hyp="84-1-1 9.\n84-1-2\n84-1-3 A 7\n")
    assert (summary.empty, summary.emptied) == (["84-1-2"], ["84-1-1"])
    assert (summary.stripped, summary.stripped_references) == (["84-1-1", "84-1-3"], ["84-1-2"])
    assert read_summary(tmp_path / "out/score/score.json") == summary


def test_a_deletion_burst_is_eight_deletions_in_a_row(tmp_path: Path) -> None:
    words = " ".join(f"W{i}" for i in range(20))
    hyp = {8: " ".join(f"w{i}" for i in range(20) if not 5 <= i < 13), 7: " ".join(f"w{i}" for i in range(13))}
    for number, text in hyp.items():
        summary = run(tmp_path, ref=f"84-1-1 {words}\n84-1-2 A\n", hyp=f"84-1-1 {text}\n84-1-2 a\n")
        assert summary.wer.counts.deletions == number
        assert summary.deletion_bursts == (["84-1-1"] if number == 8 else [])
        assert summary.successful is not None
        assert summary.successful.counts.sentences == (1 if number == 8 else 2)


def test_nothing_decoded_successfully_has_no_rate(tmp_path: Path) -> None:
    summary = run(tmp_path, ref="84-1-1 A\n", hyp="84-1-1 b b b b\n")
    assert summary.successful is None
    assert read_summary(tmp_path / "out/score/score.json") == summary


def test_summary_is_read_back_as_written(tmp_path: Path) -> None:
    for characters in (True, False):
        summary = run(tmp_path, chars=characters)
        assert read_summary(tmp_path / "out/score/score.json") == summary


def test_own_trn_files_score_the_same(tmp_path: Path) -> None:
    first = run(tmp_path)
    out = tmp_path / "out" / "score"
    again = score_files(tmp_path / "ref", out / "hyp.trn", normalizer("librispeech")).summary
    assert again.wer == first.wer


def test_durations_are_those_of_all_utterances(tmp_path: Path) -> None:
    run(tmp_path)
    utt2dur = tmp_path / "utt2dur"
    for content, message in (
        ("84-1-1 2.5\n84-1-2 1\n", "utt2dur: 1 utterances have no duration: 85-1-1"),
        ("84-1-1\n", "utt2dur:1: expected an utterance id and seconds, found '84-1-1'"),
        ("84-1-1 2.5 s\n", "found '84-1-1 2.5 s'"),
    ):
        utt2dur.write_text(content)
        with pytest.raises(DataError, match=message):
            score_files(tmp_path / "ref", tmp_path / "hyp", normalizer("none"), utt2dur=utt2dur)
    utt2dur.write_text("84-1-1 2.5\n84-1-2 1\n85-1-1 31\n")
    write_directory(tmp_path, score_files(tmp_path / "ref", tmp_path / "hyp", normalizer("none"), utt2dur=utt2dur))
    assert "|30-60 s|1|2|" in (tmp_path / "analysis.md").read_text()


def test_bad_input_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 3 references have no hypothesis: 85-1-1"):
        run(tmp_path, hyp="84-1-1 x\n84-1-2 y\n")
    with pytest.raises(DataError, match=r"cut: 1 utterances are not in .*hyp: 99-1-1"):
        run(tmp_path, cut="99-1-1\n")
    assert not (tmp_path / "out").exists()


def test_a_score_that_stops_halfway_leaves_no_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)

    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("speechllm.score.directory.format_result", fail)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert not (tmp_path / "out/score/score.json").exists()


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "score").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        run(tmp_path)


def test_write_whole_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match="taken: cannot be written"):
        write_whole(tmp_path / "taken", "x")
    write_whole(tmp_path / "new", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "taken"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"wer": null, "cer": null}', '{"wer": 1, "cer": null}'])
def test_foreign_summary(tmp_path: Path, content: str) -> None:
    (tmp_path / "score.json").write_text(content)
    with pytest.raises(DataError, match=r"score\.json: not a score of speechllm"):
        read_summary(tmp_path / "score.json")


def test_summary_holds_ids_as_text(tmp_path: Path) -> None:
    run(tmp_path, ref="\u00e9-1 A\n", hyp="\u00e9-1\n")
    tree = json.loads((tmp_path / "out/score/score.json").read_text(encoding="utf-8"))
    assert tree["empty"] == ["\u00e9-1"]
    assert transcripts.read(tmp_path / "out/score/hyp.trn") == {"\u00e9-1": ""}

"""Jobs of decoding: shares, skipped work, and errors of merging."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from speechllm.data.kaldi.table import read_table
from speechllm.errors import ConfigError, DataError
from speechllm.inference.config import DecodeConfig
from speechllm.inference.jobs import Loaded, decode_job, decode_jobs, finished_job, merge_jobs, share
from speechllm.inference.record import write_job_record
from speechllm.inference.run import shuffled_speech
from speechllm.interfaces import GenerationOptions, Hypothesis, TimedWord

DURATIONS = {"a": 1.0, "b": 2.0, "c": 3.0}


def recognize(utt_ids: list[str]) -> list[list[Hypothesis]]:
    return [[Hypothesis(text=f"said {u}", score=-1.0, num_tokens=2, truncated=u == "b")] for u in utt_ids]


def decode_all(folder: Path, fingerprint: str = "x") -> None:
    decode_job(recognize, [["a", "b"]], DURATIONS, folder, 1, fingerprint)
    decode_job(recognize, [["c"]], DURATIONS, folder, 2, fingerprint)


def test_shares_become_one_text(tmp_path: Path) -> None:
    decode_all(tmp_path)
    sentence = merge_jobs(tmp_path, "cab", 2)
    assert "3 utterances" in sentence
    assert "1 reached max_new_tokens" in sentence
    assert read_table(tmp_path / "text") == {"a": "said a", "b": "said b", "c": "said c"}
    assert (tmp_path / "truncated").read_text() == "b\n"
    rows = [json.loads(line) for line in (tmp_path / "nbest.jsonl").read_text().splitlines()]
    assert [row["utt_id"] for row in rows] == ["a", "b", "c"]


def test_word_times_are_written_as_a_ctm_file(tmp_path: Path) -> None:
    def timed(utt_ids: list[str]) -> list[list[Hypothesis]]:
        words = {utt_id: [TimedWord(word="x", start=0.16, end=0.4, confidence=0.5)] for utt_id in utt_ids}
        words["b"] = words["b"] + [TimedWord(word="y")]
        return [[replace(recognize([u])[0][0], words=words[u])] for u in utt_ids]

    decode_job(timed, [["a", "b", "c"]], DURATIONS, tmp_path, 1, "x")
    assert merge_jobs(tmp_path, "abc", 1).endswith("reached max_new_tokens; 1 of 4 words without times")
    assert (tmp_path / "words.ctm").read_text() == "a 1 0.160 0.240 x 0.500\nc 1 0.160 0.240 x 0.500\n"
    decode_all(tmp_path)
    merge_jobs(tmp_path, "abc", 2)
    assert not (tmp_path / "words.ctm").exists()


def test_a_finished_share_is_known_by_its_utterances_and_fingerprint(tmp_path: Path) -> None:
    decode_all(tmp_path)
    assert finished_job(tmp_path, 1, ["b", "a"], "x")
    assert not finished_job(tmp_path, 1, ["a"], "x")
    assert not finished_job(tmp_path, 1, ["a", "b"], "another model")
    assert not finished_job(tmp_path, 3, [], "x")
    job = tmp_path / "nbest.1.jsonl"
    job.write_text(job.read_text().replace('"fingerprint"', '"identity"'))  # its name in earlier versions
    assert finished_job(tmp_path, 1, ["b", "a"], "x") and not finished_job(tmp_path, 1, ["b", "a"], "y")


def test_a_job_without_utterances_is_finished(tmp_path: Path) -> None:
    decode_job(recognize, [], DURATIONS, tmp_path, 4, "x")
    assert finished_job(tmp_path, 4, [], "x")


def test_what_a_merge_refuses(tmp_path: Path) -> None:
    decode_all(tmp_path)
    with pytest.raises(DataError, match="expected the result of job 3 of 3"):
        merge_jobs(tmp_path, "abc", 3)
    with pytest.raises(DataError, match="1 utterances without a hypothesis: d"):
        merge_jobs(tmp_path, "abcd", 2)
    with pytest.raises(DataError, match="1 utterances unknown: c"):
        merge_jobs(tmp_path, "ab", 2)
    decode_job(recognize, [["c", "a"]], DURATIONS, tmp_path, 2, "x")
    with pytest.raises(DataError, match="found a second hypothesis of a"):
        merge_jobs(tmp_path, "abc", 2)
    decode_job(recognize, [["c"]], DURATIONS, tmp_path, 2, "y")
    with pytest.raises(DataError, match="different models or options"):
        merge_jobs(tmp_path, "abc", 2)
    assert not (tmp_path / "text").exists()


def test_without_a_job_all_that_is_left_is_decoded_and_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loads, decoded = [], []

    def load() -> Loaded:
        loads.append(1)

        def counted(utt_ids: list[str]) -> list[list[Hypothesis]]:
            decoded.extend(utt_ids)
            return recognize(utt_ids)

        return Loaded(counted, lambda mine: [list(mine)])

    def decode(job: int | None, fingerprint: str = "x") -> str:
        decode_jobs(load, DURATIONS, tmp_path, nj=2, job=job, fingerprint=fingerprint)
        return capsys.readouterr().out

    decode(2)
    assert (decoded, len(loads)) == (["b"], 1)
    assert "job 2 of 2 is complete, nothing to do" in decode(2)
    assert "3 utterances" in decode(None)
    assert (decoded, len(loads)) == (["b", "a", "c"], 2)
    assert "3 utterances" in decode(None)
    assert len(loads) == 2, "all was done, and yet the model was loaded"
    decode(None, fingerprint="another model")
    assert (sorted(decoded[3:]), len(loads)) == (["a", "b", "c"], 3)
    assert read_table(tmp_path / "text") == {"a": "said a", "b": "said b", "c": "said c"}
    assert [list(share(DURATIONS, 2, job)) for job in (1, 2)] == [["a", "c"], ["b"]]
    assert yaml.safe_load((tmp_path / "run.yaml").read_text())["batch_size"] == 2  # of job 1


def test_a_job_that_dies_leaves_no_share(tmp_path: Path) -> None:
    def dies(utt_ids: list[str]) -> list[list[Hypothesis]]:
        if utt_ids == ["b"]:
            raise RuntimeError("out of memory")
        return recognize(utt_ids)

    with pytest.raises(RuntimeError):
        decode_job(dies, [["a"], ["b"]], DURATIONS, tmp_path, 1, "x")
    assert not finished_job(tmp_path, 1, ["a", "b"], "x")


def test_cap_follows_duration() -> None:
    assert DecodeConfig(tokens_per_second=4.0, extra_tokens=5).max_new_tokens(2.6) == 16


def test_nbest_needs_beams() -> None:
    for number in (0, 3):
        with pytest.raises(ConfigError, match=f"nbest: found {number}, expected 1 to num_beams, 2"):
            DecodeConfig(search=GenerationOptions(num_beams=2, nbest=number))


@pytest.mark.parametrize("key", ["no_repeat_ngram", "hot_word_distance"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_negative_option_of_the_search_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"search.{key}: found {value}, expected at least 0"):
        DecodeConfig(search=GenerationOptions(**{key: value}))


def test_a_cap_of_no_tokens_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"tokens_per_second, extra_tokens and batch_duration: found 0\.0, 10 and 480"
    ):
        DecodeConfig(tokens_per_second=0.0)


def test_shuffled_speech_is_never_ones_own() -> None:
    speech = shuffled_speech(DURATIONS)
    assert speech == {"a": "b", "b": "c", "c": "a"}


def test_the_acceptance_rate_is_that_of_all_jobs(tmp_path: Path) -> None:
    def speculative(utt_ids: list[str]) -> list[list[Hypothesis]]:
        return [[replace(recognize([one])[0][0], drafted=5, accepted=3 if one == "a" else 1)] for one in utt_ids]

    for job, utt_ids in enumerate((["a", "b"], ["c"]), 1):
        decode_job(speculative, [utt_ids], DURATIONS, tmp_path, job, "x")
        write_job_record(tmp_path, job, {})
    assert "; acceptance rate of drafted tokens 0.333" in merge_jobs(tmp_path, "abc", 2)
    record = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert record["speculative_decoding"] == {"tokens": 6, "drafted": 15, "accepted": 5, "acceptance_rate": 0.3333}

"""The table of WER and RTFx."""

import json
from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.report import tables
from speechllm.score.directory import score_files, write_directory
from speechllm.score.normalize import normalizer


def decoded(folder: Path, hyp: str, seconds: float, record: str = "") -> None:
    """Write a decoding of two utterances of 3 s and 5 s, and its score."""
    folder.mkdir(parents=True)
    (folder / "ref").write_text("a ONE TWO\nb THREE FOUR\n")
    (folder / "text").write_text(hyp)
    rows = [{"utt_id": utt, "duration": length, "seconds": seconds} for utt, length in (("a", 3.0), ("b", 5.0))]
    (folder / "nbest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if record:
        (folder / "run.yaml").write_text(record)
    write_directory(folder / "score", score_files(folder / "ref", folder / "text", normalizer("none")))


def cells(text: str) -> list[list[str]]:
    section = text.split("## WER and RTFx")[1].split("\n## ")[0]
    return [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]


def test_wer_and_rtfx_of_models_in_one_table(tmp_path: Path) -> None:
    exps = [tmp_path / "ours", tmp_path / "whisper"]
    record = "device: CPU, 2 threads\nbatch_size: 8\ninput: features\n"
    decoded(exps[0] / "decode/x", "a ONE TWO\nb THREE FOUR\n", 1.0, record)
    decoded(exps[0] / "decode/y", "a ONE\nb THREE\n", 3.0, record.replace("8", "4"))
    decoded(exps[0] / "decode/x_shuffled", "a NO\nb NO\n", 9.0)
    decoded(exps[1] / "decode/x", "a ONE TWO\nb THREE\n", 0.5)
    head, _, ours, whisper = cells(tables.report(exps, ""))
    assert head == ["model", "average WER", "RTFx", "x", "y", "batch", "device", "input", "normalizer"]
    assert ours == ["ours", "25.00", "2.00", "0.00", "50.00", "8, 4", "CPU, 2 threads", "features", "none (1)"]
    assert whisper == ["whisper", "-", "8.00", "25.00", "-", *3 * ["not recorded"], "none (1)"]
    assert "RTFx" not in tables.report(exps[:1], "")


def test_damaged_times_are_an_error(tmp_path: Path) -> None:
    exps = [tmp_path / "a", tmp_path / "b"]
    for exp in exps:
        decoded(exp / "decode/x", "a ONE TWO\nb THREE FOUR\n", 1.0)
    (exps[1] / "decode/x/nbest.jsonl").write_text('{"duration": 1.0}\n')
    with pytest.raises(DataError, match=r"nbest\.jsonl: line 1 is damaged .*, expected duration and seconds"):
        tables.report(exps, "")

"""Arguments that several verbs share."""

from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.bin._arguments import split_overrides


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("", []),
        (" train.lr=1e-4  seed=2\ndata.shares=[1, 2]", ["train.lr=1e-4", "seed=2", "data.shares=[1, 2]"]),
        ("prompt.template=hear <speech> say", ["prompt.template=hear <speech> say"]),
        (
            "prompt.template='Heard: a=b <speech>\\nSaid:' seed=2",
            ["prompt.template='Heard: a=b <speech>\\nSaid:'", "seed=2"],
        ),
        ('prompt.template="it\'s  so" seed=2', ['prompt.template="it\'s  so"', "seed=2"]),
        ("decoder.lora={rank: 8, alpha: 16} seed=2", ["decoder.lora={rank: 8, alpha: 16}", "seed=2"]),
        ("seed", ["seed"]),
    ],
)
def test_overrides_are_split_outside_their_values(text: str, overrides: list[str]) -> None:
    assert split_overrides(text) == overrides


@pytest.mark.parametrize("verb", ["decode", "dump", "baseline"])
@pytest.mark.parametrize("jobs", [("2", "5"), ("2", "0"), ("2", "-1"), ("0", "1"), ("x", "1")])
def test_a_job_is_one_of_the_jobs(
    verb: str, jobs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = [] if verb == "decode" else ["--config", "x.yaml"]
    places = ["a_set"] if verb == "dump" else [str(tmp_path / "exp"), "a_set"]
    try:
        status = main([verb, "--nj", jobs[0], "--job", jobs[1], *config, *places])
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    said = capsys.readouterr().err
    assert any(
        part in said
        for part in ("--job: found 5, expected 1 to 2", f"found {jobs[1]}, expected 1", "found 0, expected 1", "'x'")
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["join", "a", "b"], "concatenate"),
        (["make_no_speech", "a"], "make_non_speech"),
        (["score_no_speech", "a", "b"], "score_non_speech"),
        (["names", "--config", "x"], "dump"),
        (["decode", "--mismatched", "model", "a"], "_shuffled"),
    ],
)
def test_a_former_verb_or_option_is_an_error_that_names_its_replacement(
    arguments: list[str], instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as error:
        status = int(str(error.code))
    assert status == 2
    assert f"renamed, expected {instead}" in capsys.readouterr().err.replace("the name of the set with the suffix ", "")

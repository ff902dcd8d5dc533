"""The verbs `score` and `results` as a user calls them."""

import subprocess
import sys
from pathlib import Path

import pytest

from speechllm.bin import main


@pytest.fixture
def texts(tmp_path: Path) -> tuple[str, str, str]:
    (tmp_path / "ref").write_text("".join(f"84-1-{k} word {k}\n" for k in range(10)))
    (tmp_path / "hyp").write_text("".join(f"84-1-{k} word {k // 2 * 2}\n" for k in range(10)))
    return str(tmp_path / "ref"), str(tmp_path / "hyp"), str(tmp_path / "exp/decode/test/score")


def test_score_prints_a_row_and_what_stands_beside_it(
    texts: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", *texts]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("|test|10|20|75.0|25.0|0.0|0.0|25.0|50.0|")
    assert lines[4].startswith("WER 25.00%, 95% interval ")
    assert lines[4].endswith("normalizer none (1); raw WER 25.00%.")
    assert lines[5] == (
        "Hypotheses: 0 empty, 0 in a repetition loop, truncated: not counted, 0 with a deletion "
        "burst of at least 8 words, 0 refusals; "
        "10 decoded successfully, WER 25.00%."
    )


def test_examples_are_spread_evenly(texts: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", *texts, "--char", "--examples", "2"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("84-1-2\nREF: word 2\nHYP: word 2\n\n84-1-7\nREF: word 7\nHYP: word 6\n")
    assert "|dataset|Snt|Chr|" in out
    assert main(["score", *texts, "--examples", "99"]) == 0
    assert capsys.readouterr().out.count("REF: ") == 10


def test_bad_input_is_a_sentence_and_status_1(
    texts: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(texts[1]).write_text("84-1-0 word\n")
    assert main(["score", *texts]) == 1
    assert "speechllm score: " in capsys.readouterr().err
    assert main(["score", texts[0], texts[0], texts[2], "--normalizer", "upper"]) == 1
    assert "expected one of none, librispeech, gigaspeech, whisper-english" in capsys.readouterr().err
    assert main(["results", str(tmp_path / "exp")]) == 1
    assert "found no score.json" in capsys.readouterr().err


def test_results_prints_or_updates(
    texts: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["score", *texts])
    capsys.readouterr()
    assert main(["results", str(tmp_path / "exp")]) == 0
    assert "|test|10|20|75.0|" in capsys.readouterr().out
    output = tmp_path / "RESULTS.md"
    assert main(["results", str(tmp_path / "exp"), "--output", str(output), "--command", "./run.sh"]) == 0
    assert "|test|10|20|75.0|" in output.read_text()
    assert "./run.sh" in output.read_text()


def test_scoring_imports_no_large_package(texts: tuple[str, str, str]) -> None:
    program = (
        "import sys; from speechllm.bin import main; status = main(sys.argv[1:]); "
        "large = {'torch', 'transformers', 'jiwer', 'deepspeed'} & set(sys.modules); "
        "sys.exit(f'imported {large}' if large else status)"
    )
    done = subprocess.run([sys.executable, "-c", program, "score", *texts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""The page: its content, and no external resources."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.report.html import write_report

REF = "1-1 the cat </script><b>sat</b>\n1-2 yes yes\n"
HYP = "1-1 the cat\n1-2 no no no no no\n"


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    decode = tmp_path / "exp/qf<80>/decode"
    for name in ("test", "test_shuffled"):
        (decode / name).mkdir(parents=True)
        (tmp_path / "ref").write_text(REF)
        (decode / name / "text").write_text(HYP)
        assert main(["score", str(tmp_path / "ref"), str(decode / name / "text"), str(decode / name / "score")]) == 0
    rows = [{"utt_id": "1-1", "duration": 3.5}, {"utt_id": "1-2", "duration": 40.0}]
    (decode / "test/nbest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return decode.parent


def data(page: Path) -> dict[str, list[dict[str, object]]]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    sets: dict[str, list[dict[str, object]]] = json.loads(found[1])
    return sets


def test_every_utterance_with_its_alignment(exp: Path, tmp_path: Path) -> None:
    counts = write_report(exp, [], {"test": {"1-1": "../a.flac"}}, tmp_path / "page.html")
    assert counts == {"test": 2, "test_shuffled": 2}
    first, second = data(tmp_path / "page.html")["test"]
    assert first["words"] == [["C", "the", "the"], ["C", "cat", "cat"], ["D", "</script><b>sat</b>", ""]]
    assert (first["errors"], first["length"], first["seconds"], first["audio"]) == (1, 3, 3.5, "../a.flac")
    assert (second["audio"], second["flags"]) == (None, ["loop"])
    assert data(tmp_path / "page.html")["test_shuffled"][0]["seconds"] is None


def test_the_page_asks_for_nothing_and_escapes_names(exp: Path, tmp_path: Path) -> None:
    write_report(exp, [], {}, tmp_path / "page.html")
    page = tmp_path / "page.html"
    text = page.read_text()
    assert f"<title>{tmp_path.name}: qf&lt;80&gt;</title>" in text
    assert text.count("<script") == text.count("</script>") == 2
    outside = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>|(?s:<metadata>.*?</metadata>)', "", text)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)[^\"']*", outside)
    assert "http" not in outside
    assert text.count("<svg") == 2
    assert "0-5 s" in text
    assert "30-60 s" in text


def test_the_verb_puts_other_experiments_beside(exp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exp / "decode").rename(exp.with_name("decode"))
    other = exp.with_name("other")
    other.mkdir()
    exp.with_name("decode").rename(other / "decode")
    assert main(["report", str(other), str(other)]) == 0
    assert "report.html: 2 utterances of test, 2 utterances of test_shuffled" in capsys.readouterr().out
    assert (other / "report.html").read_text().count("<td>other: test</td>") == 2


GOOD = '{"utt_id": "1-1", "duration": 1}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"nbest\.jsonl: not an nbest\.jsonl of a decoding .* in line 1"),
        (f"{GOOD}\n[]", "in line 2"),
        (f'{GOOD}\n{{"utt_id": "1-2", "duration": NaN}}', "duration nan.* in line 2"),
        (f'{GOOD}\n{{"utt_id": "1-2", "dur', "in line 2"),
        (f"{GOOD}\n\0", r"nbest\.jsonl:2: found a NUL"),
        (GOOD, r"nbest\.jsonl: 1 utterances are missing: 1-2"),
    ],
)
def test_foreign_durations_are_refused(exp: Path, tmp_path: Path, content: str, message: str) -> None:
    (exp / "decode/test/nbest.jsonl").write_text(f"{content}\n")
    with pytest.raises(DataError, match=message):
        write_report(exp, [], {}, tmp_path / "page.html")


def test_a_score_directory_with_other_utterances_is_refused(exp: Path, tmp_path: Path) -> None:
    (exp / "decode/test/score/hyp.trn").write_text("the (1-1-1)\n")
    with pytest.raises(DataError, match=r"score: 1 utterances are in only one of ref\.trn and hyp\.trn: 1-2"):
        write_report(exp, [], {}, tmp_path / "page.html")


@pytest.fixture
def two_systems(exp: Path) -> tuple[Path, Path]:
    other = exp.with_name("whisper")
    (other / "decode/test").mkdir(parents=True)
    hyp = other / "decode/test/text"
    hyp.write_text("1-1 uh the cat\n1-2 yes\n")
    assert main(["score", str(exp.parents[1] / "ref"), str(hyp), str(hyp.with_name("score"))]) == 0
    return exp, other


def test_hypotheses_of_all_systems_are_beside_each_other(two_systems: tuple[Path, Path], tmp_path: Path) -> None:
    exp, other = two_systems
    write_report(exp, [other], {}, tmp_path / "page.html")
    first, second = data(tmp_path / "page.html")["test"]
    dropped = ["D", "</script><b>sat</b>", ""]
    assert first["others"] == [["whisper", 2, [["I", "", "uh"], ["C", "the", "the"], ["C", "cat", "cat"], dropped]]]
    assert second["others"] == [["whisper", 1, [["D", "yes", ""], ["C", "yes", "yes"]]]]
    assert data(tmp_path / "page.html")["test_shuffled"][0]["others"] == []


def test_the_headline_is_the_rate_of_each_set(two_systems: tuple[Path, Path], tmp_path: Path) -> None:
    exp, other = two_systems
    write_report(exp, [other], {}, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    headline = text[text.index('<div class="headline">') : text.index("<h2>Scores")]
    assert "<span>test</span><strong>120.0% WER</strong><span>95% interval 33.3 to 250.0</span>" in headline
    assert "whisper: 60.0% (" in headline
    assert "<span>Control, shuffled audio: 120.0% (33.3 to 250.0)</span>" in headline
    assert "<span>test_shuffled</span>" not in headline


def test_every_column_that_the_caption_names_is_there(exp: Path, tmp_path: Path) -> None:
    write_report(exp, [], {}, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    heads = re.findall(r"<th>(.*?)</th>", text)
    assert heads[:2] == ["Set", "WER"], "first, as narrow screens show few columns"
    assert heads[-2:] == ["Loops", "Raw WER"], "the other counts are 0 everywhere"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on PATH")
def test_the_page_as_a_browser_shows_it(two_systems: tuple[Path, Path], tmp_path: Path) -> None:
    exp, other = two_systems
    write_report(exp, [other], {"test": {"1-1": "a.sph", "1-2": "missing.wav"}}, tmp_path / "page.html")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run([*command, f"file://{tmp_path}/page.html"], capture_output=True, text=True, check=True)
    assert "a browser cannot play .sph files; write the report with --embed_audio" in done.stdout
    assert "1 error in 3 words" in done.stdout
    assert done.stdout.count("<audio") == 1
    rows = re.findall(r"<tr><th[^>]*>([^<]*)</th>(.*?)</tr>", done.stdout)
    cells = {label: re.findall(r"<td[^>]*>([^<]*)</td>", row) for label, row in rows[-3:]}
    assert list(cells.values()) == [
        ["", "the", "cat", "&lt;/script&gt;&lt;b&gt;sat&lt;/b&gt;"],
        ["", "the", "cat", "\u00b7"],
        ["uh", "the", "cat", "\u00b7"],
    ]


def test_audio_is_embedded_for_the_utterances_with_most_errors(exp: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data/test"
    folder.mkdir(parents=True)
    noise_N = np.random.default_rng(0).normal(0, 0.1, 8000)
    for name in ("1-1", "1-2"):
        soundfile.write(tmp_path / f"{name}.sph", noise_N, 8000, format="NIST", subtype="PCM_16")
    (folder / "wav.scp").write_text("".join(f"{name} {tmp_path / name}.sph\n" for name in ("1-1", "1-2")))
    (folder / "utt2spk").write_text("1-1 1\n1-2 1\n")
    (folder / "utt2dur").write_text("1-1 1.0\n1-2 1.0\n")
    assert main(["report", str(exp), "--data", str(tmp_path / "data"), "--embed_audio", "1"]) == 0
    linked, embedded = (row["audio"] for row in data(exp / "report.html")["test"])
    assert str(linked).endswith("1-1.sph")
    header, content = str(embedded).split(",")
    assert header == "data:audio/mpeg;base64"
    samples_N, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert rate == 16000
    assert len(samples_N) == pytest.approx(16000, abs=3000)


def test_wrong_options_are_sentences(exp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(exp), "--data", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: no such directory, expected the parent of the data directories" in capsys.readouterr().err
    assert main(["report", str(exp), "--embed_audio", "3"]) == 1
    assert "--embed_audio: found no --data" in capsys.readouterr().err


def test_plots_print_no_warning(exp: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    write_report(exp, [], {}, tmp_path / "page.html")
    assert not recwarn.list

"""STM against CTM, compared with sclite: the same words in the same segments, and the same result.txt."""

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from speechllm.bin import main
from speechllm.errors import DataError
from speechllm.score.directory import read_words
from speechllm.score.nist.ctm import Word, ctm_lines, read_ctm, spread
from speechllm.score.nist.stm import Segment, read_stm, stm_lines
from speechllm.score.nist.telephone import assign, score_segments
from speechllm.score.sclite import format_result

needs_sctk = pytest.mark.skipif(not shutil.which("sctk"), reason="sctk is not on PATH")


def theirs(folder: Path) -> str:
    command = ["sctk", "sclite", "-s", "-F", "-D", "-e", "utf-8", "-r", "ref.stm", "stm", "-h", "hyp.ctm", "ctm"]
    command += ["hyp.ctm", "-o", "sum", "pralign", "stdout"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def drawn(draw: random.Random) -> tuple[list[Segment], list[Word]]:
    """Return two channels of segments with gaps between them, and words that may be in the gaps."""
    words = ["yeah", "i", "mean", "right", "uh"]
    segments, hyp = [], []
    for channel in "AB":
        time = draw.random()
        for _ in range(draw.randint(3, 12)):
            length = draw.uniform(0.5, 4)
            said = [draw.choice([*words, "(uh)", "{ i'm / i am }", "mea-"]) for _ in range(draw.randint(1, 8))]
            text = " ".join(said) if draw.random() < 0.9 else "IGNORE_TIME_SEGMENT_IN_SCORING"
            speaker = f"sw1-{channel}" if draw.random() < 0.8 else f"{channel}2"
            place = {"recording": "sw1", "channel": channel, "speaker": speaker, "labels": "<O,en,F>"}
            segments.append(Segment(**place, start=round(time, 3), end=round(time + length, 3), text=text))
            time += length + draw.choice([0, 0, 1.5])
        for _ in range(40):
            start = round(draw.uniform(0, time + 1), 3)
            hyp.append(Word(recording="sw1", channel=channel, start=start, duration=0.2, word=draw.choice(words)))
    return segments, sorted(hyp, key=lambda word: (word.channel, word.start))


@needs_sctk
def test_result_is_sclites(tmp_path: Path) -> None:
    draw = random.Random(2)
    different = 0
    for _ in range(40):
        segments, words = drawn(draw)
        (tmp_path / "ref.stm").write_text(stm_lines(segments))
        (tmp_path / "hyp.ctm").write_text(ctm_lines(words))
        scored = score_segments(read_stm(tmp_path / "ref.stm"), read_ctm(tmp_path / "hyp.ctm"))
        different += format_result(scored, "hyp.ctm") != theirs(tmp_path)
    assert different == 0


def test_words_belong_where_their_middle_is() -> None:
    one = {"recording": "f", "channel": "1", "speaker": "s"}
    segments = [Segment(**one, start=start, end=start + 1) for start in (1.0, 3.0)]
    times = (0.0, 1.85, 1.95, 2.5, 9.0)
    words = [Word(recording="f", channel="1", start=time, duration=0.2, word=str(time)) for time in times]
    assert [[word.word for word in found] for found in assign(segments, words)] == [
        ["0.0", "1.85"],
        ["1.95", "2.5", "9.0"],
    ]
    with pytest.raises(DataError, match="word 'x' at 1 s: found it in recording f, channel 2"):
        assign(segments, [Word(recording="f", channel="2", start=1, duration=1, word="x")])


def test_files_are_read_as_written(tmp_path: Path) -> None:
    segments, words = drawn(random.Random(3))
    (tmp_path / "a.stm").write_text(";; a comment\n" + stm_lines(segments))
    (tmp_path / "a.ctm").write_text(";; a comment\n" + ctm_lines(words))
    assert read_stm(tmp_path / "a.stm") == segments
    assert read_ctm(tmp_path / "a.ctm") == words


def test_alternatives_in_a_ctm(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(
        "f 1 0 1 so\nf 1 * * <ALT_BEGIN>\nf 1 1 1 i'm\nf 1 * * <ALT>\nf 1 1 .5 i\nf 1 1.5 .5 am\nf 1 * * <ALT_END>\n"
    )
    words = read_ctm(path)
    assert [word.word for word in words] == ["so", "{", "i'm", "/", "i", "am", "}"]
    assert re.findall(r"<ALT\w*>", ctm_lines(words)) == ["<ALT_BEGIN>", "<ALT>", "<ALT_END>"]
    (segment,) = [Segment(recording="f", channel="1", speaker="s", start=0, end=2, text="so i am")]
    assert score_segments([segment], words)[0].alignment == "CCC"


def test_words_are_spread_over_their_segment() -> None:
    segment = Segment(recording="f", channel="1", speaker="s", start=2.0, end=4.0)
    assert [(word.word, word.start, word.duration) for word in spread(segment, "a b")] == [("a", 2, 1), ("b", 3, 1)]
    assert spread(segment, "") == []


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("x.stm", "f 1 s 0", "x.stm:2: expected: recording channel speaker begin end"),
        ("x.stm", "f 1 s 0 later words", "x.stm:2: expected"),
        ("x.stm", "f 1 s 2 1 words", "x.stm:2: found 2 to 1 s, expected a start before the end"),
        ("x.ctm", "f 1 0 1", "x.ctm:2: expected: recording channel begin duration word"),
        ("x.ctm", "f 1 0 1 word high", "x.ctm:2: expected"),
    ],
)
def test_wrong_lines(name: str, line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f";; comment\n{line}\n")
    with pytest.raises(DataError, match=message):
        (read_stm if name.endswith("stm") else read_ctm)(tmp_path / name)


@needs_sctk
def test_the_verb_scores_recordings_as_hubscr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NIST's procedure: csrfilt.sh on both files, then sclite."""
    glm = (
        "* format = 'NIST1'\nYEAH => YES / [ ] __ [ ]\nI'M => {I'M / I AM} / [ ] __ [ ]\nMEAN => MEAN IT / [ ] __ [ ]\n"
    )
    (tmp_path / "en.glm").write_text(glm)
    segments, words = drawn(random.Random(5))
    (tmp_path / "in.stm").write_text(stm_lines(segments))
    (tmp_path / "in.ctm").write_text(ctm_lines(words))
    path = f"{os.environ['PATH']}:/usr/lib/sctk/bin"
    for kind, side, name in (("stm", "ref", "ref.stm"), ("ctm", "hyp", "hyp.ctm")):
        command = f"csrfilt.sh -dh -i {kind} -t {side} en.glm < in.{kind} > {name}"
        subprocess.run(command, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    arguments = [str(tmp_path / name) for name in ("in.stm", "in.ctm", "score")]
    assert main(["score", *arguments, "--glm", str(tmp_path / "en.glm")]) == 0
    assert "GLM en.glm (" in capsys.readouterr().out
    assert (tmp_path / "score/result.txt").read_text() == theirs(tmp_path)
    assert [u.alignment for u in read_words(tmp_path / "score")] == [
        u.alignment for u in score_segments(read_stm(tmp_path / "ref.stm"), read_ctm(tmp_path / "hyp.ctm"))
    ]

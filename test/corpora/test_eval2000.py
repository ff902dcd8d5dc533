"""The 2000 HUB5 evaluation in LDC's layout, with possible errors."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.bin import main
from speechllm.corpora import eval2000
from speechllm.data.kaldi.data_dir import read_data_dir
from speechllm.data.kaldi.validate import validate_data_dir
from speechllm.errors import DataError

STM = """;; CATEGORY "0" "" ""
en_4156 A en_4156_A 0.50 1.50 <O,CallHome> (%HESITATION) { I'LL / I WILL } GO
en_4156 B en_4156_B 1.00 2.00 <O,CallHome> THAT'S (GR-) GREAT
en_4156 A en_4156_A 2.00 3.00 <O,CallHome> IGNORE_TIME_SEGMENT_IN_SCORING
sw_4390 B sw_4390_B 0.00 4.00 <O,Switchboard> YEAH
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a corpus of two conversations of four seconds."""
    (tmp_path / "hub5/english").mkdir(parents=True)
    (tmp_path / "hub5/reference").mkdir()
    for k, name in enumerate(("en_4156", "sw_4390")):
        noise_NC = np.random.default_rng(k).uniform(-0.3, 0.3, (32000, 2))
        soundfile.write(tmp_path / f"hub5/english/{name}.sph", noise_NC, 8000, format="NIST", subtype="ULAW")
    (tmp_path / "hub5/reference/hub5e00.english.000405.stm").write_text(STM)
    (tmp_path / "hub5/reference/en20000405_hub5.glm").write_text("I'LL => I WILL / [ ] __ [ ]\n")
    return tmp_path / "hub5"


def stm(root: Path) -> Path:
    return root / "reference/hub5e00.english.000405.stm"


def prepare(root: Path, name: str) -> Path:
    eval2000.prepare(root, root.parent / "data", [name])
    return root.parent / "data" / name


def test_channels_become_recordings(root: Path) -> None:
    data_dir = prepare(root, "eval2000")
    assert validate_data_dir(data_dir).num_utts == 3
    utts = read_data_dir(data_dir).utts
    assert [utt.utt_id for utt in utts] == [
        "en_4156-A_000050-000150",
        "en_4156-B_000100-000200",
        "sw_4390-B_000000-000400",
    ]
    assert [utt.speaker for utt in utts] == ["en_4156-A", "en_4156-B", "sw_4390-B"]
    assert (data_dir / "reco2file_and_channel").read_text().splitlines()[0] == "en_4156-A en_4156 A"
    samples_NC, _ = soundfile.read(root / "english/en_4156.sph", dtype="int16")
    samples_N, rate = soundfile.read(utts[1].path, dtype="int16")
    assert rate == 8000
    assert np.array_equal(samples_N, samples_NC[:, 1])


def test_sets_are_the_halves_of_it(root: Path) -> None:
    assert [utt.recording for utt in read_data_dir(prepare(root, "callhome")).utts] == ["en_4156-A", "en_4156-B"]
    assert [utt.recording for utt in read_data_dir(prepare(root, "switchboard")).utts] == ["sw_4390-B"]
    assert len((root.parent / "data/callhome/ref.stm").read_text().splitlines()) == 3


def test_it_is_scored_against_stm_and_glm(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir = prepare(root, "callhome")
    decoded = tmp_path / "exp/decode/callhome"
    decoded.mkdir(parents=True)
    hyps = {"en_4156-A_000050-000150": "I WILL GO", "en_4156-B_000100-000200": "THAT'S GREETINGS"}
    (decoded / "text").write_text("".join(f"{utt} {text}\n" for utt, text in hyps.items()))
    (decoded / "nbest.jsonl").write_text("".join(json.dumps({"utt_id": utt, "duration": 1.0}) + "\n" for utt in hyps))
    assert main(["make_ctm", str(data_dir), f"{decoded}/text", f"{decoded}/hyp.ctm"]) == 0
    out = f"{decoded}/score"
    assert main(["score", f"{data_dir}/ref.stm", f"{decoded}/hyp.ctm", out, "--glm", f"{data_dir}/ref.glm"]) == 0
    assert "WER 14.29%" in capsys.readouterr().out  # GREETINGS for GREAT, of seven words
    assert main(["report", str(tmp_path / "exp"), "--data", str(data_dir.parent)]) == 0
    assert "2 utterances of callhome" in capsys.readouterr().out


def test_nothing_is_done_where_nothing_has_changed(root: Path) -> None:
    before = prepare(root, "callhome").stat().st_ino
    assert prepare(root, "callhome").stat().st_ino == before
    stm(root).write_text(STM.replace("GO", "WENT"))
    assert prepare(root, "callhome").stat().st_ino != before


def test_what_cannot_be_used_is_listed_and_the_rest_goes_through(root: Path) -> None:
    path = root / "english/sw_4390.sph"
    path.write_bytes(path.read_bytes()[:20000])
    lines = [
        "en_4156 A en_4156_A 0.70",
        "en_4156 A en_4156_A 3.00 2.00 <O,CallHome> REVERSED",
        "en_4156 A en_4156_A 3.00 9.00 <O,CallHome> BEYOND",
        "en_4156 A en_4156_A 0.60 1.40 <O,CallHome> ON TOP",
        "en_4157 A en_4157_A 0.60 1.40 <O,CallHome> IN NO FILE",
        "en_4156 B en_4156_B 3.00 3.50 <O,CallHome>",
    ]
    stm(root).write_text(STM + "\n".join(lines) + "\n")
    data_dir = prepare(root, "eval2000")
    assert [utt.recording for utt in read_data_dir(data_dir).utts] == ["en_4156-A", "en_4156-B"]
    found = dict(line.split(" ", 1) for line in (data_dir / "dropped").read_text().splitlines())
    kinds = {utt: reason.partition(":")[0] for utt, reason in found.items()}
    assert kinds == {
        "hub5e00.english.000405.stm:6": "malformed line",
        "hub5e00.english.000405.stm:7": "malformed line",
        "en_4156-A_000300-000900": "segment beyond the end of the audio",
        "en_4156-A_000060-000140": "segment overlapping another",
        "en_4157-A_000060-000140": "missing audio",
        "en_4156-B_000300-000350": "empty transcript",
        "sw_4390-B_000000-000400": "unusable audio",
    }
    assert "truncated: found 9488 samples per channel, expected 32000" in found["sw_4390-B_000000-000400"]
    assert len((data_dir / "ref.stm").read_text().splitlines()) == 3  # the stretch that is not scored among them
    path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"found no usable utterance .*no SPHERE file"):
        prepare(root, "switchboard")


def test_where_to_get_it(root: Path) -> None:
    eval2000.download(root, ["eval2000"])
    stm(root).unlink()
    with pytest.raises(DataError, match=r"found 0 files hub5e00\.english\*\.stm, expected one; get LDC2002S09"):
        eval2000.download(root, ["eval2000"])
    with pytest.raises(DataError, match=r"found 0 files \*\.sph, expected some; get LDC2002S09"):
        eval2000.download(root / "nowhere", ["eval2000"])


def test_shorten_is_left_to_sph2pipe(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "english/sw_4390.sph"
    plain = path.rename(root / "plain")
    coded = plain.read_bytes()[:1024].replace(b"-s4 ulaw\n", b"-s27 ulaw,embedded-shorten-v2.00\n")
    path.write_bytes(coded)
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(DataError, match=r"compressed with shorten, expected uncompressed samples; install sph2pipe"):
        prepare(root, "switchboard")
    program = root / "sph2pipe"
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "-f sph -p" ] && /bin/cp {plain} "$5"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert len(read_data_dir(prepare(root, "switchboard")).utts) == 1
    program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    path.write_bytes(coded + b"x")
    with pytest.raises(DataError, match="damaged: sph2pipe reports 'broken'"):
        prepare(root, "switchboard")

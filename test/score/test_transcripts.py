"""Reading and writing Kaldi text and .trn files, and their errors."""

from pathlib import Path

import pytest

from speechllm.errors import DataError
from speechllm.score import transcripts


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_kaldi_text_keeps_empty_hypotheses_and_order(tmp_path: Path) -> None:
    path = write(tmp_path / "text", "84-1-2 the cat  sat\n84-1-1\n84-1-3 \n\n26-1-1\tété\r\n")
    assert transcripts.read(path) == {"84-1-2": "the cat  sat", "84-1-1": "", "84-1-3": "", "26-1-1": "été"}
    assert next(iter(transcripts.read(path))) == "84-1-2"


def test_unusual_white_space_ends_no_line(tmp_path: Path) -> None:
    path = write(tmp_path / "text", "a-1 x\u2028y\x0bz\u00a0w\n")
    assert transcripts.read(path)["a-1"].split() == ["x", "y", "z", "w"]


def test_byte_order_mark_is_no_part_of_an_id(tmp_path: Path) -> None:
    assert list(transcripts.read(write(tmp_path / "text", b"\xef\xbb\xbfa-1 x\n"))) == ["a-1"]


def test_trn(tmp_path: Path) -> None:
    path = write(tmp_path / "hyp.trn", ";; a comment\nthe (old) cat (84-84-1-1)\n(84-84-1-2)\n  (x-y_3) \n\nend (u4)\n")
    assert transcripts.read(path) == {"84-1-1": "the (old) cat", "84-1-2": "", "x-y_3": "", "u4": "end"}


@pytest.mark.parametrize(
    "utt_id", ["84-121123-0005", "84-84-0001", "p225_001", "common_voice_en_1", "bob_ann-1", "utt7"]
)
def test_trn_gives_ids_back(tmp_path: Path, utt_id: str) -> None:
    path = write(tmp_path / "ref.trn", transcripts.trn_lines([(utt_id, "a b")]))
    assert transcripts.read(path) == {utt_id: "a b"}
    assert transcripts.trn_id(utt_id).split("-")[0] == transcripts.speaker_of(utt_id)


def test_speaker_is_a_part_of_the_id() -> None:
    found = [transcripts.speaker_of(i) for i in ("84-121123-0005", "p225_001", "bob_ann-1", "utt7")]
    assert found == ["84", "p225", "bob_ann", "utt7"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text", b"", "text: found no utterance"),
        ("text", b"\n \n", "text: found no utterance"),
        ("text", b"a-1 x\nb-1 caf\xe9\n", "text:2: found byte 0xe9, expected UTF-8"),
        ("text", b"a-1 x\nb-1 y\na-1 z\n", "text:3: found the utterance a-1 here and in line 1"),
        ("text", b"a(1) x\n", "text:1: found a parenthesis in the utterance id 'a(1)'"),
        (
            "ref.trn",
            b"x (a-1)\nno id here\n",
            "ref.trn:2: found 'no id here', expected words followed by (utterance-id)",
        ),
        ("ref.trn", b"x (a 1)\n", "ref.trn:1: found 'x (a 1)'"),
        ("ref.trn", b"x ()\n", "ref.trn:1: found 'x ()'"),
        ("ref.trn", b"x (a-1)\ny (a-1)\n", "ref.trn:2: found the utterance a-1 here and in line 1"),
        ("ref.trn", b"x (a-a-1)\ny (a-1)\n", "ref.trn:2: found the utterance a-1 here and in line 1"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        transcripts.read(write(tmp_path / name, content))
    assert message in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError, match=f"{path}: cannot be read"):
            transcripts.read(path)


def test_ids_that_differ_are_listed_on_both_sides() -> None:
    ref = {f"a-{k}": "x" for k in range(30)}
    hyp = {"a-0": "x", "b-7": "x"}
    with pytest.raises(DataError) as caught:
        transcripts.check_same_utterances(ref, hyp, "REF", "HYP")
    message = str(caught.value)
    assert "HYP: 29 of 30 references have no hypothesis: a-1, a-2, " in message
    assert "a-10 and 19 more; 1 hypotheses have no reference: b-7; expected the utterances of REF" in message


def test_empty_reference_is_an_error_and_empty_hypothesis_is_none() -> None:
    transcripts.check_same_utterances({"a-1": "x"}, {"a-1": ""}, "REF", "HYP")
    with pytest.raises(DataError, match="REF: 1 references are empty: a-1"):
        transcripts.check_same_utterances({"a-1": " ", "a-2": "x"}, {"a-1": "", "a-2": ""}, "REF", "HYP")


def test_read_ids(tmp_path: Path) -> None:
    assert transcripts.read_ids(write(tmp_path / "empty", "")) == []
    assert transcripts.read_ids(write(tmp_path / "ids", "a-1\nb-1\n")) == ["a-1", "b-1"]
    with pytest.raises(DataError, match="ids:2: expected one utterance id, found 'b-1 x'"):
        transcripts.read_ids(write(tmp_path / "ids", "a-1\nb-1 x\n"))

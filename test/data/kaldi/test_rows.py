"""Ids of utterances, speakers and recordings."""

from pathlib import Path

import pytest

from speechllm.data.kaldi.rows import Row, clean_id, name_recordings, name_utterances


def row(path: str = "/x/a.wav", speaker: str = "", utt_id: str = "", **fields: float) -> Row:
    return Row(where="", path=Path(path), text="hello", speaker=speaker, utt_id=utt_id, **fields)


def ids(*rows: Row) -> list[str]:
    return [named.utt_id for named in name_utterances(rows)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a b\tc\n", "a_b_c"),
        ("a/b\\c:d|e", "a_b_c_d_e"),
        ("gr\u00fc\u00df-\u0915\u093f.1", "gr\u00fc\u00df-\u0915\u093f.1"),  # with a vowel sign, which is no letter
        ("caf\udce9", "caf"),
        ("a\u3000b\u00a0c\x85d", "a_b_c_d"),
        ("***", "unnamed"),
    ],
)
def test_what_an_id_cannot_hold_becomes_an_underscore(name: str, expected: str) -> None:
    assert clean_id(name) == expected
    assert clean_id(name).split() == [expected]


def test_an_utterance_is_named_after_its_file_and_its_speaker() -> None:
    assert ids(row(speaker="ann"), row("/x/ann-b.wav", "ann"), row("/x/ann2.wav", "ann")) == [
        "ann-a",
        "ann-b",
        "ann-ann2",
    ]
    assert ids(row(speaker="ann", utt_id="u 1")) == ["ann-u_1"]


def test_files_of_one_name_are_named_with_their_folders() -> None:
    assert ids(row("/x/1/a.wav"), row("/x/2/a.wav"), row("/y/2/a.wav"), row("/y/b.wav")) == ["1-a", "2-a", "2-a_2", "b"]


def test_many_of_one_name_are_named_quickly() -> None:
    named = ids(*(row(utt_id="audio") for _ in range(20_000)))
    assert named[:3] == ["audio", "audio_2", "audio_3"]
    assert len(set(named)) == 20_000
    assert ids(row(utt_id="a"), row(utt_id="a_2"), row(utt_id="a"), row(utt_id="a_2")) == ["a", "a_2", "a_3", "a_2_2"]


def test_parts_of_a_file_are_named_with_their_times() -> None:
    parts = [row(start=0, duration=1.5), row(start=1.5, duration=0.25), row(start=2), row()]
    assert ids(*parts) == ["a-00000000-00001500", "a-00001500-00001750", "a-00002000", "a"]
    assert ids(row(start=1.0, duration=1.5)) == ["a"]


def test_speakers_that_become_alike_stay_apart() -> None:
    named = name_utterances([row("/1.wav", "a-b"), row("/2.wav", "a_b"), row("/3.wav", "a b"), row("/4.wav", "a-b")])
    assert [one.speaker for one in named] == ["a_b", "a_b_2", "a_b_3", "a_b"]


def test_an_unknown_speaker_is_the_utterance() -> None:
    (named,) = name_utterances([row("/x/103-7-1.wav")])
    assert (named.utt_id, named.speaker) == ("103-7-1", "103-7-1")


def test_the_utterances_of_a_speaker_stay_together_when_sorted() -> None:
    speakers = ["s", "s1", "s-1", "s+", "s.", "s_", "", "t", "S", "s1-2", "s 1", "\u00e9", "10", "1"]
    paths = [f"/x/{name}.wav" for name in ("s", "s-1", "s1", "s-1-0", "a", "t-b", "0", "s1-2", "\u00e9-1")]
    named = name_utterances([row(path, speaker) for speaker in speakers for path in paths])
    utts = {one.utt_id: one.speaker for one in named}
    assert len(utts) == len(named)
    assert all(utt.startswith(speaker) for utt, speaker in utts.items())
    in_order = [utts[utt] for utt in sorted(utts)]
    assert in_order == sorted(in_order)
    assert len(set(in_order)) == len(speakers) - 1 + len(paths)


def test_recordings() -> None:
    rows = [row("/x/a.wav"), row("/y/a.wav"), row("/z/a b.wav"), row("/x/c.wav"), row("/x/c.wav")]
    assert list(name_recordings(rows).values()) == ["x-a", "y-a", "a_b", "c"]

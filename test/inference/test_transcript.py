"""The formats of transcripts."""

import json

from speechllm.inference.transcript import FORMATS, Segment, Transcript
from speechllm.interfaces import Hypothesis, TimedWord

FOUND = Hypothesis(text="a <b>", score=-0.5, num_tokens=2, truncated=False, tokens=[("a", -0.1), (" <b>", -0.4)])
OTHER = TimedWord(word="o")
TRANSCRIPT = Transcript(
    source="x.wav",
    duration=3723.5,
    segments=[
        Segment(start=0.0, end=12.25, text="a <b>", nbest=[FOUND]),
        Segment(start=12.25, end=20.0, text="", nbest=[], warnings=["silence"]),
        Segment(start=20.0, end=3723.5, text="the end", nbest=[], warnings=["loop", "unsure"]),
    ],
)


def test_text_and_warnings() -> None:
    assert FORMATS["txt"](TRANSCRIPT) == "a <b> the end\n"
    assert TRANSCRIPT.warnings == ["12.2-20.0 s: silence", "20.0-3723.5 s: loop, unsure"]


def test_subtitles_leave_out_what_has_no_words() -> None:
    assert FORMATS["srt"](TRANSCRIPT) == (
        "1\n00:00:00,000 --> 00:00:12,250\na <b>\n\n2\n00:00:20,000 --> 01:02:03,500\nthe end\n\n"
    )
    assert FORMATS["vtt"](TRANSCRIPT) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:12.250\na &lt;b&gt;\n\n00:00:20.000 --> 01:02:03.500\nthe end\n\n"
    )


def test_json_holds_everything() -> None:
    tree = json.loads(FORMATS["json"](TRANSCRIPT))
    assert tree["text"] == "a <b> the end" and tree["source"] == "x.wav"
    assert tree["segments"][0]["nbest"][0]["tokens"] == [["a", -0.1], [" <b>", -0.4]]
    assert tree["segments"][2]["warnings"] == ["loop", "unsure"]


def test_subtitles_by_words() -> None:
    timed = [TimedWord(word=word, start=k, end=k + 0.5, confidence=0.9) for k, word in ((1, "a"), (2, "<b>"))]
    segments = [
        Segment(start=0.0, end=5.0, text="o a x <b>", nbest=[FOUND], words=[OTHER, timed[0], OTHER, timed[1]]),
        Segment(start=5.0, end=6.0, text="o", nbest=[FOUND], words=[OTHER]),
    ]
    transcript = Transcript(source="x.wav", duration=6.0, segments=segments)
    assert FORMATS["srt"](transcript) == (
        "1\n00:00:01,000 --> 00:00:01,500\no a o\n\n2\n00:00:02,000 --> 00:00:02,500\n<b>\n\n"
        "3\n00:00:05,000 --> 00:00:06,000\no\n\n"
    )
    assert "00:00:02.000 --> 00:00:02.500\n&lt;b&gt;\n" in FORMATS["vtt"](transcript)
    tree = json.loads(FORMATS["json"](transcript))["segments"][0]
    assert tree["words"][1] == {"word": "a", "start": 1, "end": 1.5, "confidence": 0.9}
    assert tree["words"][0] == {"word": "o", "start": None, "end": None, "confidence": None}
    assert "words" not in tree["nbest"][0]

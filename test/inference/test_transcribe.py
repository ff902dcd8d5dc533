"""Transcription of recordings of any length with a recogniser that describes its input."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.errors import DataError
from speechllm.inference.transcribe import Transcriber
from speechllm.inference.transcript import Transcript
from speechllm.interfaces import Hypothesis, TimedWord

RATE = 16000


class Recognizer:
    """Outputs the loudness of a waveform in per mille; records the batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, batch: list[np.ndarray]) -> list[list[Hypothesis]]:
        self.batches.append(len(batch))
        texts = [f"{1000 * np.abs(samples_N).max():.0f}" for samples_N in batch]
        return [[Hypothesis(text=text, score=0.0, num_tokens=1, truncated=False)] for text in texts]


def tone(seconds: float, level: float, channels: int = 1) -> np.ndarray:
    return np.full((round(seconds * RATE), channels), level, dtype=np.float32).squeeze()


def transcriber(recognize: Recognizer, batch_size: int = 3, max_window: float = 10.0) -> Transcriber:
    return Transcriber(recognize, sample_rate=RATE, max_window=max_window, batch_size=batch_size)


def test_windows_of_several_recordings_share_batches() -> None:
    recognize = Recognizer()
    recordings = [(tone(3, 0.1), RATE), (tone(25, 0.2), RATE), (tone(3, 0.3), RATE), (tone(2, 0.4), RATE)]
    results = list(transcriber(recognize)(recordings))
    assert [type(result) for result in results] == [Transcript] * 4
    assert [result.text for result in results] == ["100", "200 200 200", "300", "400"]
    assert recognize.batches == [3, 3]


def test_results_come_as_soon_as_they_are_known() -> None:
    taken = []

    def recordings() -> Iterator[tuple[np.ndarray, int]]:
        for number in range(100):
            taken.append(number)
            yield tone(1, 0.1), RATE

    results = transcriber(Recognizer(), batch_size=4)(recordings())
    next(results)
    assert len(taken) == 4


def test_channels_are_mixed_and_files_read(tmp_path: Path) -> None:
    stereo = tone(2, 0.2, channels=2)
    stereo[:, 1] = 0.4
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE, subtype="FLOAT")
    results = transcriber(Recognizer())([(stereo, RATE), (stereo.T, RATE), tmp_path / "stereo.wav"])
    assert [result.text for result in results] == ["300", "300", "300"]


def test_what_cannot_be_read_is_an_error_in_its_place(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(45, 0.2), RATE)
    cut = tmp_path / "cut.wav"
    cut.write_bytes((tmp_path / "long.wav").read_bytes()[:-1000])
    (tmp_path / "text.wav").write_text("no audio")
    recordings = [(tone(1, 0.1), RATE), cut, tmp_path / "text.wav", tmp_path / "none.wav", tmp_path / "long.wav"]
    first, *bad, last = transcriber(Recognizer())(recordings)
    assert first.text == "100" and last.text.split() == ["200"] * len(last.segments)
    assert all(isinstance(one, DataError) for one in bad)
    assert ["truncated" in str(bad[0]), "no audio" in str(bad[1]), "no such" in str(bad[2])] == [True] * 3


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ((np.zeros(10, dtype=np.int16), RATE), "floating point"),
        ((np.zeros(0, dtype=np.float32), RATE), "at least one sample"),
        ((np.zeros((2, 2, 2), dtype=np.float32), RATE), "shape"),
        ((np.full(10, np.nan, dtype=np.float32), RATE), "NaN"),
    ],
)
def test_samples_that_are_none(audio: tuple[np.ndarray, int], message: str) -> None:
    (error,) = transcriber(Recognizer())([audio])
    assert isinstance(error, DataError) and message in str(error)


def test_silence_is_not_decoded_and_doubts_are_said() -> None:
    def doubtful(batch: list[np.ndarray]) -> list[list[Hypothesis]]:
        text = "no no no no"
        return [
            [Hypothesis(text=text, score=-9, num_tokens=2, truncated=True, tokens=[("no", -2.0)] * 4)] for _ in batch
        ]

    results = Transcriber(doubtful, sample_rate=RATE, max_window=10, batch_size=1)(
        [(tone(1, 1e-5), RATE), (tone(1, 0.1), RATE)]
    )
    silent, loud = results
    assert isinstance(silent, Transcript) and silent.text == "" and silent.segments[0].warnings == ["silence"]
    assert isinstance(loud, Transcript) and loud.segments[0].warnings == ["loop", "truncated", "unsure"]


def test_progress_is_in_seconds() -> None:
    done: list[float] = []
    run = Transcriber(Recognizer(), sample_rate=RATE, max_window=10.0, batch_size=2, progress=done.append)
    list(run([(tone(25, 0.2), RATE), (tone(2, 0.0), RATE)]))
    assert sum(done) == pytest.approx(27.0)


def test_word_times_are_those_in_the_recording() -> None:
    """The last stacked state may reach beyond the end of its window."""

    def recognize(batch: list[np.ndarray]) -> list[list[Hypothesis]]:
        times = [(0.5, 1.0), (1.5, 60.0), (None, None)]
        words = [TimedWord(word="w", start=start, end=end, confidence=None) for start, end in times]
        return [[Hypothesis(text="w w w", score=0.0, num_tokens=3, truncated=False, words=words)] for _ in batch]

    run = Transcriber(recognize, sample_rate=RATE, max_window=10.0, batch_size=2)
    (result,) = run([(tone(25, 0.2), RATE)])
    assert isinstance(result, Transcript) and len(result.segments) > 2
    for segment in result.segments:
        assert segment.nbest[0].words == () and segment.warnings == ["untimed"]
        start = pytest.approx(segment.start + 0.5, abs=1e-3)
        assert [segment.words[0].start, segment.words[1].end, segment.words[2].start] == [start, segment.end, None]

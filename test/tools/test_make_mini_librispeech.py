from pathlib import Path

import make_mini_librispeech
import pytest
import soundfile
from make_mini_librispeech import UNSEEN, WITH_FLITE, WITHOUT_FLITE, plan
from speak_corpus import Speaker

COUNTS = {"train-mini": 100, "dev-mini": 20, "test-mini": 40}


@pytest.fixture
def corpus(tmp_path: Path, humming: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return OUT/LibriSpeech, hummed."""
    monkeypatch.setattr(make_mini_librispeech, "missing_packages", lambda *engines: [])
    assert (
        make_mini_librispeech.main([str(tmp_path), "--train", "100", "--dev", "20", "--test", "40", "--jobs", "2"]) == 0
    )
    return tmp_path / "LibriSpeech"


def transcripts(folder: Path) -> dict[str, str]:
    lines = [line for path in folder.rglob("*.trans.txt") for line in path.read_text().splitlines()]
    return dict(line.split(" ", 1) for line in lines)


def test_layout(corpus: Path) -> None:
    for subset, count in COUNTS.items():
        texts = transcripts(corpus / subset)
        audio = {path.stem: path for path in (corpus / subset).rglob("*.flac")}
        assert len(texts) == count and texts.keys() == audio.keys()
        for utt_id, path in audio.items():
            assert utt_id.split("-")[:2] == [path.parent.parent.name, path.parent.name]
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert info.duration > 0.2
    lines = (corpus / "SPEAKERS.TXT").read_text().splitlines()
    assert [line.split("|")[0].strip() for line in lines if not line.startswith(";")][-1] == "900"
    assert not list(corpus.parent.glob(".*")), "nothing half made is left"


def test_no_sentence_and_no_unseen_voice_is_in_two_sets(corpus: Path) -> None:
    texts = [text for subset in COUNTS for text in transcripts(corpus / subset).values()]
    assert len(set(texts)) == len(texts)
    unseen = [path.parts[-4] for path in corpus.rglob("900-*.flac")]
    assert unseen == ["test-mini"] * 20


def test_a_complete_corpus_is_left_alone(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert make_mini_librispeech.main([str(corpus.parent)]) == 0
    assert "already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


@pytest.mark.parametrize("speakers", [WITH_FLITE, WITHOUT_FLITE], ids=["flite", "no flite"])
def test_speakers(speakers: list[Speaker]) -> None:
    assert len({speaker.number for speaker in speakers}) == len(speakers)
    assert {speaker.sex for speaker in speakers} == {"F", "M"}
    assert UNSEEN.voice not in {speaker.voice for speaker in speakers}
    blocks = plan(speakers, COUNTS, seed=1)
    voices = {block.speaker for block in blocks if block.subset == "test-mini"}
    assert voices == {*speakers, UNSEEN}
    assert len({block.seed for block in blocks}) == len(blocks)

from pathlib import Path

import make_spoken_gutenberg
import pytest
from make_spoken_gutenberg import SPEAKERS


@pytest.fixture
def no_voices(humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speak what a short list says, by humming, and fetch nothing."""
    monkeypatch.setattr(make_spoken_gutenberg, "missing_packages", list)
    monkeypatch.setattr(make_spoken_gutenberg, "fetch", lambda name, package, root: root / name)
    monkeypatch.setattr(
        make_spoken_gutenberg, "draw", lambda folder, count, seed: [f"{folder.name} {i}" for i in range(count)]
    )


@pytest.mark.parametrize(("flite", "voices"), [(True, 5), (False, 2)])
def test_no_sentence_is_in_two_sets(
    tmp_path: Path, no_voices: None, monkeypatch: pytest.MonkeyPatch, flite: bool, voices: int
) -> None:
    monkeypatch.setattr(make_spoken_gutenberg, "has_flite", lambda: flite)
    assert (
        make_spoken_gutenberg.main([str(tmp_path), "--train", "50", "--dev", "20", "--test", "30", "--jobs", "1"]) == 0
    )
    root = tmp_path / "LibriSpeech"
    lines = {path: path.read_text().splitlines() for path in root.rglob("*.trans.txt")}
    sizes = {
        subset: len(list((root / subset).rglob("*.flac"))) for subset in ("train-spoken", "dev-spoken", "test-spoken")
    }
    assert sizes == {"train-spoken": 50, "dev-spoken": 20, "test-spoken": 30}
    assert len({line.split(" ", 1)[1] for rows in lines.values() for line in rows}) == 100
    names = [row.split("|")[4] for row in (root / "SPEAKERS.TXT").read_text().splitlines()[1:]]
    assert len({name.split()[0] for name in names}) == voices


def test_speakers_have_numbers_of_their_own() -> None:
    numbers = [speaker.number for speaker in SPEAKERS]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) > 9_000, "LibriSpeech's readers have smaller ones"


def test_missing_voices_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_spoken_gutenberg, "missing_packages", lambda: ["hibari-tts"])
    with pytest.raises(SystemExit) as exit_:
        make_spoken_gutenberg.main([str(tmp_path)])
    assert exit_.value.code == 2
    assert "pip install hibari-tts" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

from pathlib import Path

import make_spoken_gutenberg
import pytest
import voices
from make_spoken_gutenberg import SPEAKERS

OTHERS = [speaker for speaker in SPEAKERS if not speaker.voice.startswith("kokoro-")]


@pytest.fixture
def no_voices(humming: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hum the sentences of a short list, and fetch nothing."""
    monkeypatch.setattr(make_spoken_gutenberg, "missing_packages", lambda *engines: [])
    monkeypatch.setattr(make_spoken_gutenberg, "fetch_packages", lambda: None)
    monkeypatch.setattr(make_spoken_gutenberg, "fetch", lambda name, package, root: root / name)
    monkeypatch.setattr(
        make_spoken_gutenberg, "draw", lambda folder, count, seed: [f"{folder.name} {'A' * i}" for i in range(count)]
    )


@pytest.mark.parametrize(("flite", "voices"), [(True, 5), (False, 2)])
@pytest.mark.parametrize("kokoro", [True, False])
def test_no_sentence_is_in_two_sets(
    tmp_path: Path, no_voices: None, monkeypatch: pytest.MonkeyPatch, flite: bool, voices: int, kokoro: bool
) -> None:
    monkeypatch.setattr(make_spoken_gutenberg, "has_flite", lambda: flite)
    options = ["--train", "50", "--dev", "20", "--test", "30", "--jobs", "1"]
    engines = ["hibari", "flite", "joe", *["kokoro"] * kokoro]
    assert make_spoken_gutenberg.main([str(tmp_path), *options, "--engines", *engines]) == 0
    root = tmp_path / "LibriSpeech"
    lines = {path: path.read_text().splitlines() for path in root.rglob("*.trans.txt")}
    sizes = {
        subset: len(list((root / subset).rglob("*.flac"))) for subset in ("train-spoken", "dev-spoken", "test-spoken")
    }
    assert sizes == {"train-spoken": 50, "dev-spoken": 20, "test-spoken": 30}
    assert len({line.split(" ", 1)[1] for rows in lines.values() for line in rows}) == 100
    names = [row.split("|")[4].split()[0] for row in (root / "SPEAKERS.TXT").read_text().splitlines()[1:]]
    assert len({name for name in names if not name.startswith("kokoro-")}) == voices
    assert len(set(names)) - voices == kokoro * (50 - len(OTHERS) + (0 if flite else 8))


def test_speakers_have_numbers_of_their_own() -> None:
    numbers = [speaker.number for speaker in SPEAKERS]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) > 9_000, "LibriSpeech's readers have smaller ones"


def test_missing_voices_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_spoken_gutenberg, "missing_packages", lambda *engines: ["hibari-tts"])
    with pytest.raises(SystemExit) as exit_:
        make_spoken_gutenberg.main([str(tmp_path)])
    assert exit_.value.code == 2
    assert "pip install hibari-tts" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_kokoro_has_many_speakers_of_both_sexes() -> None:
    kokoro = [speaker for speaker in SPEAKERS if speaker.voice.startswith("kokoro-")]
    assert len({speaker.voice for speaker in kokoro}) == 251
    assert min(sum(speaker.sex == sex for speaker in kokoro) for sex in "FM") > 90


def test_a_missing_engine_is_an_error(
    tmp_path: Path, no_voices: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_spoken_gutenberg, "has_flite", lambda: False)
    with pytest.raises(SystemExit) as exit_:
        make_spoken_gutenberg.main([str(tmp_path), "--engines", "flite"])
    assert exit_.value.code == 2
    assert "apt-get install flite" in capsys.readouterr().err


def test_another_corpus_is_not_continued(tmp_path: Path, no_voices: None, capsys: pytest.CaptureFixture[str]) -> None:
    partial = tmp_path / ".LibriSpeech.partial"
    partial.mkdir()
    (partial / ".plan").write_text("0" * 64)
    assert make_spoken_gutenberg.main([str(tmp_path), "--train", "5", "--dev", "2", "--test", "3", "--jobs", "1"]) == 1
    assert "unfinished corpus with other options" in capsys.readouterr().err
    assert not (tmp_path / "LibriSpeech").exists()


def test_only_the_packages_of_the_chosen_synthesisers_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices.importlib.util, "find_spec", lambda module: None)
    assert voices.missing_packages("hibari", "flite") == ["hibari-tts"]
    assert voices.missing_packages("hibari", "kokoro") == ["hibari-tts", "openvino"]

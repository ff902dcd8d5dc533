"""Kokoro's voices, with a small graph and small tables."""

import json
from pathlib import Path

import kokoro
import numpy as np
import pytest
import voices
from kokoro import LONGEST, PACE, VOICES, WIDTH, Kokoro, Style, blends, split


class Graph:
    """A graph whose speech is the phoneme numbers, times the first style value, divided by the speed."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        tokens_BS, style_BW, speed_B = inputs["tokens"], inputs["style"], inputs["speed"]
        assert tokens_BS.dtype == np.int64 and style_BW.dtype == speed_B.dtype == np.float32
        assert tokens_BS.shape[0] == style_BW.shape[0] == 1 and style_BW.shape[1] == WIDTH
        assert tokens_BS[0, 0] == tokens_BS[0, -1] == 0
        self.lengths.append(tokens_BS.shape[1] - 2)
        return [tokens_BS[:, None, 1:-1] * style_BW[0, 0] / (speed_B[0] / PACE)]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with tables of three voices, whose row n holds n, 2 n and 3 n; letters are the phonemes."""
    for folder in ("styles", "symbols"):
        (tmp_path / folder).mkdir()
    for i, name in enumerate(("af_bella", "af_sky", "bm_lewis"), start=1):
        table = np.repeat(np.arange(LONGEST + 1, dtype=np.float32)[:, None] * i, WIDTH, axis=1)
        table.tofile(tmp_path / "styles" / f"{name}.bin")
    vocabulary = {" ": 16, "a": 1, "b": 2, "c": 3}
    (tmp_path / "symbols" / "vocab.json").write_text(json.dumps({"vocab": vocabulary}))
    graph = Graph()
    monkeypatch.setattr(kokoro, "_load_graph", lambda root: graph)
    monkeypatch.setattr(kokoro, "_load_phonemes", lambda british: str.swapcase if british else str)
    return tmp_path


def test_a_voice_has_the_style_of_the_number_of_phonemes(root: Path) -> None:
    np.testing.assert_allclose(Kokoro("af_bella", root)("ab?c", 1.0), [3, 6, 9])
    np.testing.assert_allclose(Kokoro("af_sky", root)("ab", 0.5), [8, 16])


def test_a_blend_is_the_weighted_mean_of_two_voices(root: Path) -> None:
    np.testing.assert_allclose(Kokoro("0.25*af_bella+af_sky", root)("abc", 1.0), np.array([3, 6, 9]) * 1.75)


def test_british_voices_have_british_phonemes(root: Path) -> None:
    assert len(Kokoro("bm_lewis", root)("aBC", 1.0)) == 2
    assert len(Kokoro("af_sky", root)("aBC", 1.0)) == 1


def test_long_texts_are_spoken_in_parts_cut_at_spaces(root: Path) -> None:
    voice = Kokoro("af_bella", root)
    samples_N = voice("abc " * 300, 1.0)
    assert len(samples_N) == 1200
    assert voice.infer.lengths == [LONGEST - 2, LONGEST - 1, 1200 - 2 * LONGEST + 3]
    assert [len(part) for part in split([1] * 1100, 16)] == [LONGEST, LONGEST, 1100 - 2 * LONGEST]
    assert list(split([1, 2], 16)) == [[1, 2]]


def test_voices_are_loaded_by_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "Kokoro", lambda name: Kokoro(name, root))
    voice = voices.load("kokoro-0.50*af_bella+af_sky", seed=1)
    assert voice.sample_rate == 24_000
    np.testing.assert_allclose(voice("a", 1.0), [1.5])


def test_names_of_styles() -> None:
    for style in [*map(Style.parse, VOICES), *blends(50, seed=3)]:
        assert Style.parse(str(style)) == style
    assert Style.parse("0.40*af_sky+am_adam").sex == "M"
    assert Style.parse("0.60*bf_emma+bm_lewis").sex == "F"
    assert len(set(VOICES)) == 51 and not {"jf_nezumi", "zf_xiaoyi", "zm_yunxia"} & set(VOICES)


def test_blends_are_of_two_english_voices_of_an_accent() -> None:
    found = blends(218, seed=1)
    assert len({frozenset((style.first, style.second)) for style in found}) == 218
    assert all(style.first[0] == style.second[0] in "ab" and 0.3 <= style.weight <= 0.7 for style in found)
    assert blends(5, seed=1) == found[:5] != blends(5, seed=2)

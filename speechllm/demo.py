"""Demo page: a recording or file, its transcript with the probability of each token, and Whisper's transcript."""

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from speechllm.api import Model
from speechllm.data.audio.read import read_blocks
from speechllm.data.audio.windows import cut_windows
from speechllm.errors import ConfigError, SpeechLLMError
from speechllm.experiment import base_path
from speechllm.inference.transcript import Transcript
from speechllm.inference.whisper_baseline import SAMPLE_RATE, WhisperBaseline

LOCALHOST = "127.0.0.1"
LARGEST_UPLOAD = "200mb"
CHECKED, KEPT = 60, 600
"""Interval of deletion of uploads, and their minimum age (seconds); all are deleted when the server ends."""

Shown: TypeAlias = tuple[list[tuple[str, float]], str, str]
"""Tokens with error probabilities (1 minus probability), remarks, and the transcript of Whisper's own decoder."""


def recognizer(model: Model, whisper: WhisperBaseline | None, language: str = "") -> Callable[[str | None], Shown]:
    """Return the function of the page from the path of a recording to the shown values.

    Args:
        model: transcribes the recording.
        whisper: transcribes it for comparison.
        language: see ``Model.transcribe``.
    """

    def recognize(path: str | None) -> Shown:
        if path is None:
            return [], "Speak or choose a file first.", ""
        try:
            transcript = model.transcribe(path, language=language)
            peer = "" if whisper is None else whisper.transcribe([_samples(path)])[0].text
        except SpeechLLMError as error:
            return [], str(error), ""
        remarks = [f"{transcript.duration:.1f} s of speech.", *transcript.warnings]
        return tokens_of(transcript), "\n".join(remarks), peer

    return recognize


def tokens_of(transcript: Transcript) -> list[tuple[str, float]]:
    """Return the tokens of a transcript with their error probabilities: 1 minus the probability in the search."""
    found = [
        (piece, 1 - math.exp(log_prob))
        for segment in transcript.segments
        for hypothesis in segment.nbest[:1]
        for piece, log_prob in [(" ", 0.0), *hypothesis.tokens]  # a space between segments
        if piece
    ]
    return found[1:]


def serve(model: Model, *, port: int, language: str = "") -> None:
    """Serve the page on this machine only, until interrupted.

    Args:
        model: transcribes the recordings.
        port: of the page.
        language: of the speech, see ``Model.transcribe``; also Whisper's, which otherwise detects it.

    Raises:
        ConfigError: if gradio is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise ConfigError("demo: needs gradio; pip install 'speechllm[demo]'") from error
    with tempfile.TemporaryDirectory(prefix="speechllm_demo_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # folder of uploads; gradio's default folder is never emptied
        recognize = recognizer(model, _baseline(model, language), language)
        page = _page(gradio, recognize, f"{model.about.get('name', 'speechllm')}")
        page.launch(server_name=LOCALHOST, server_port=port, max_file_size=LARGEST_UPLOAD, share=False)


def _page(gradio: Any, recognize: Callable[[str | None], Shown], title: str) -> Any:
    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(CHECKED, KEPT)) as page:
        gradio.Markdown(f"## {title}\n\nSpeech recognition on this machine: record or choose speech, then transcribe.")
        audio = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="Speech", elem_id="audio")
        button = gradio.Button("Transcribe", variant="primary", elem_id="transcribe")
        with gradio.Row():
            tokens = gradio.HighlightedText(
                label="Transcript; red: low probability",
                elem_id="transcript",
                show_legend=False,
                interactive=False,
            )
            peer = gradio.Textbox(label="Whisper's own decoder", elem_id="whisper", interactive=False)
        remarks = gradio.Textbox(label="Remarks", elem_id="remarks", interactive=False)
        button.click(recognize, audio, [tokens, remarks, peer])
    return page


def _baseline(model: Model, language: str) -> WhisperBaseline | None:
    """Return the complete Whisper model of the encoder; None for another encoder or without its decoder."""
    encoder = model.config.encoder
    path = base_path(encoder)
    if path is None or not type(encoder).__module__.endswith(".whisper"):
        return None
    try:
        return WhisperBaseline(path, model.device, language=language or None)
    except ConfigError as error:
        print(f"demo: the page has no transcript of Whisper's own decoder: {error}")
        return None


def _samples(path: str) -> np.ndarray:
    (window,) = cut_windows(read_blocks(Path(path), 10.0), SAMPLE_RATE, math.inf)
    return window.samples_N

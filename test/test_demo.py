"""The demo page in a browser, with a toy model."""

import math
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from forked import Forked, speechllm

from speechllm import demo, experiment, load
from speechllm.build import build
from speechllm.demo import LOCALHOST, recognizer, serve, tokens_of
from speechllm.inference.transcript import Segment, Transcript
from speechllm.interfaces import Hypothesis
from speechllm.models.weights import save_weights

YAML = """
frontend: {{type: log_mel}}
encoder: {{type: whisper, path: {whisper}, padding: none}}
connector: {{type: fc, stack: 10, hidden: 32}}
decoder: {{type: causal_lm, path: {llm}}}
prompt: {{template: "hear <speech> say"}}
decode: {{tokens_per_second: 2, extra_tokens: 4}}
"""


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory: pytest.TempPathFactory, tiny_whisper: Path, tiny_llm: Path) -> Path:
    """Return an experiment whose encoder, a Whisper, has no tokenizer of its own: there is no baseline of it."""
    exp = tmp_path_factory.mktemp("demo") / "exp" / "toy"
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text(YAML.format(whisper=tiny_whisper, llm=tiny_llm))
    built = build(experiment.load_config(exp / "config.yaml"), torch.float32)
    state = {name: 20 * p.detach() for name, p in built.model.named_parameters() if p.requires_grad}
    save_weights(exp / "model.safetensors", state, {"bases": built.bases})
    return exp


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, 24000), 16000)
    return path


def test_tokens_have_their_doubt() -> None:
    one = Hypothesis(text="a b", score=0.0, num_tokens=2, truncated=False, tokens=[("a", 0.0), (" b", math.log(0.25))])
    segments = [Segment(start=i, end=i + 1, text="a b", nbest=[one]) for i in range(2)]
    silent = Segment(start=2, end=3, text="", nbest=[], warnings=["silence"])
    tokens = tokens_of(Transcript(source="x", duration=3.0, segments=[*segments, silent]))
    assert tokens == [("a", 0.0), (" b", 0.75), (" ", 0.0), ("a", 0.0), (" b", 0.75)]


def test_what_cannot_be_read_is_a_remark(exp_dir: Path, tmp_path: Path) -> None:
    recognize = recognizer(load(exp_dir), None)
    assert recognize(None) == ([], "Speak or choose a file first.", "")
    (tmp_path / "x.wav").write_text("no audio")
    tokens, remarks, peer = recognize(str(tmp_path / "x.wav"))
    assert (tokens, peer) == ([], "") and "no audio" in remarks


def test_the_language_is_in_the_prompt(exp_dir: Path, recording: Path) -> None:
    model = load(exp_dir, overrides=["prompt.template=hear {language} <speech> say"])
    shown = {language: recognizer(model, None, language)(str(recording)) for language in ("de", "fr", "")}
    assert shown["de"][0] == tokens_of(model.transcribe(recording, language="German")) != shown["fr"][0]
    assert shown[""][0] == [] and "give one, such as de" in shown[""][1]


def test_uploads_are_deleted(exp_dir: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradio, httpx = (pytest.importorskip(name) for name in ("gradio", "httpx"))
    for name in ("CHECKED", "KEPT"):
        monkeypatch.setattr(demo, name, 1)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left: list[list[Path]] = []
    launch = gradio.Blocks.launch

    def upload(page: Any, **options: Any) -> None:
        _, address, _ = launch(page, **options | {"server_port": None, "prevent_thread_lock": True, "quiet": True})
        reply = httpx.post(f"{address}gradio_api/upload", files={"files": recording.read_bytes()})
        (path,) = map(Path, reply.json())
        assert path.is_file() and path.is_relative_to(tmp_path)
        left.append([path])
        for _ in range(80):
            if not path.exists():
                break
            time.sleep(0.1)
        assert not path.exists()
        httpx.post(f"{address}gradio_api/upload", files={"files": recording.read_bytes()})
        page.close()

    monkeypatch.setattr(gradio.Blocks, "launch", upload)
    serve(load(exp_dir), port=0)
    assert left and not list(tmp_path.rglob("*"))


@pytest.fixture
def browser() -> Iterator[Any]:
    pytest.importorskip("gradio")
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1100,900"):
        options.add_argument(argument)
    driven = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driven
    driven.quit()


@pytest.fixture
def address(exp_dir: Path) -> Iterator[str]:
    with socket.create_server((LOCALHOST, 0)) as server:
        port = server.getsockname()[1]
    process = Forked(speechllm, ["demo", "--model", str(exp_dir), "--port", str(port)])
    for _ in range(1200):
        assert process.poll() is None, "the page's server has ended"
        with socket.socket() as client:
            if client.connect_ex((LOCALHOST, port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://{LOCALHOST}:{port}"
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)


@pytest.mark.timeout(300)
def test_a_file_is_transcribed_in_a_browser(browser: Any, address: str, exp_dir: Path, recording: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, 90)
    browser.get(address)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0].send_keys(str(recording))
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#audio #waveform, #audio .waveform-container"))
    browser.find_element(By.ID, "transcribe").click()
    remarks = wait.until(lambda b: b.find_element(By.CSS_SELECTOR, "#remarks textarea").get_attribute("value"))
    assert remarks.startswith("1.5 s of speech.")
    shown = browser.find_element(By.ID, "transcript").text
    pieces = [piece.strip() for piece, _ in tokens_of(load(exp_dir).transcribe(recording)) if piece.strip().isalnum()]
    assert all(piece in shown for piece in pieces)

"""Publication on the hub, with a local server that implements its API."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from test_api import audio, exp_dir, model  # noqa: F401  (fixtures)
from toy_tree import ROOT

from speechllm.api import Model, load
from speechllm.bin import main
from speechllm.errors import ConfigError
from speechllm.pretrained.card import model_card
from speechllm.pretrained.hub import push


class Hub(ThreadingHTTPServer):
    """Stores the uploaded repositories and files."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.created: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """The calls of an upload; anything else is an error 404."""

    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuses or self.headers["Authorization"] != "Bearer hf_token":
            return self._reply({"error": "You do not have the right to do this"}, 403)
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            name = "me/toy"
            return self._reply({"url": f"{self.server.url}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self._reply({"errors": [], "warnings": []})
        if self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in names]
            return self._reply({"files": files})
        if self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.server.commits.append(self.path)
            return self._reply({"commitUrl": f"{self.server.url}/me/toy/commit/abc", "commitOid": "abc"})
        return self._reply({"error": f"no {self.path}"}, 404)

    def do_GET(self) -> None:
        self._reply({"error": f"no {self.path}"}, 404)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _reply(self, content: dict[str, object], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    yield server
    server.shutdown()
    server.server_close()


def is_private(request: dict[str, object]) -> bool:
    """Whether a repository is to be private, by its key in earlier and later versions of the hub's library."""
    return request.get("private", False) is True or request.get("visibility") == "private"


def test_a_model_is_uploaded_in_one_commit_and_loads(
    hub: Hub,
    model: Model,  # noqa: F811
    audio: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    address = model.push_to_hub("me/toy", private=True, dtype="float32", notes="Trained on noise.")
    assert address == f"{hub.url}/me/toy/commit/abc"
    assert [(one["name"], one["organization"], is_private(one)) for one in hub.created] == [("toy", "me", True)]
    assert len(hub.commits) == 1
    for name, content in hub.files.items():
        (tmp_path / "got" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "got" / name).write_bytes(content)
    text = load(tmp_path / "got").transcribe(audio["short.wav"]).text
    assert text == model.transcribe(audio["short.wav"]).text
    assert 'load("me/toy")' in hub.files["README.md"].decode()


def test_the_verb_packs_and_uploads(
    hub: Hub,
    exp_dir: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = re.search(r"`speechllm (pack .*)` packs", (ROOT / "egs/README.md").read_text())
    assert command is not None
    named = {"exp/train": str(exp_dir), "packed": str(tmp_path / "packed"), "USER/NAME": "me/toy"}
    assert main([named.get(word, word) for word in command[1].split()]) == 0
    assert f"{hub.url}/me/toy/commit/abc" in capsys.readouterr().out
    files = {str(path.relative_to(tmp_path / "packed")) for path in (tmp_path / "packed").rglob("*") if path.is_file()}
    assert hub.files.keys() == files
    assert not is_private(hub.created[0])
    assert main(["pack", str(exp_dir), str(tmp_path / "other"), "--push", "no name"]) == 1
    assert "expected USER/NAME" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_card_has_the_scores_in_the_form_of_the_hub(model: Model) -> None:  # noqa: F811
    row = {"wer": 9.6491, "interval": [0.9, 18.2], "utterances": 8, "words": 114, "normalizer": "librispeech (1)"}
    about = {"bases": {"encoder": "a", "decoder": "b"}, "scores": {"test_clean": row, "test_clean_shuffled": row}}
    card = huggingface_hub.ModelCard(model_card("me/toy", model.config, about))
    (result,) = card.data.eval_results  # read and checked by the hub's own library
    assert card.data.model_name == "me/toy"
    assert (result.task_type, result.dataset_name) == ("automatic-speech-recognition", "test_clean")
    assert (result.metric_type, result.metric_value) == ("wer", 9.6491)
    assert result.metric_name == "WER (%), normaliser librispeech (1)"
    assert "model-index" not in model_card("me/toy", model.config, about | {"scores": {}})


def test_refusals_and_a_hub_that_is_away_are_sentences(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a card")
    hub.refuses = True
    with pytest.raises(ConfigError, match="me/toy: cannot be uploaded to http://127.0.0.1.*; log in with"):
        push(tmp_path, "me/toy", private=False)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(ConfigError, match="me/toy: cannot be uploaded"):
        push(tmp_path, "me/toy", private=False)

"""A server for downloads, and a corpus in LibriSpeech's layout."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from range_server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server that runs until the test ends."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that adds a set of two readers with four utterances of silence each to a corpus."""

    def make(folder: str = "train-clean-5", root: str = "corpus", readers: tuple[str, ...] = ("19", "198")) -> Path:
        for reader in readers:
            chapter = tmp_path / root / folder / reader / "7"
            chapter.mkdir(parents=True)
            ids = [f"{reader}-7-{i:04d}" for i in range(4)]
            (chapter / f"{reader}-7.trans.txt").write_text("".join(f"{utt} WORDS OF {utt}\n" for utt in ids))
            for i, utt in enumerate(ids):
                soundfile.write(chapter / f"{utt}.flac", np.zeros(1600 * (i + 1)), 16000)
        return tmp_path / root

    return make

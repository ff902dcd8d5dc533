"""A maker of small data directories."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data.kaldi.data_dir import Utterance, write_data_dir


@pytest.fixture
def make_set(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a data directory of silent utterances with given durations, by several speakers."""

    def make(*durations: float, speakers: int = 2, name: str = "set") -> Path:
        utts = []
        for i, duration in enumerate(durations):
            utt_id = f"spk{i % speakers}-{i:03d}"
            path = tmp_path / "audio" / f"{name}-{utt_id}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, np.zeros(round(duration * 16000)), 16000)
            utts.append(Utterance(utt_id=utt_id, speaker=utt_id[:4], path=path, duration=duration, text="HELLO"))
        write_data_dir(tmp_path / name, utts)
        return tmp_path / name

    return make

"""Small data directories of noise, and their dumps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from speechllm.data.dump import dump_job, merge_dump
from speechllm.data.kaldi.data_dir import Utterance, write_data_dir


def energies(samples_N: np.ndarray) -> np.ndarray:
    """Return feats_TF with F = 4: a fast function of the samples, at 100 frames per second."""
    frames_TN = samples_N[: len(samples_N) // 160 * 160].reshape(-1, 160)
    return np.stack([frames_TN.min(1), frames_TN.max(1), frames_TN.std(1), np.abs(frames_TN).mean(1)], axis=1)


def half(samples_N: np.ndarray) -> np.ndarray:
    """Return states_LD like those of an encoder: float16, 50 per second."""
    return energies(samples_N)[::2].astype(np.float16)


def make_data_dir(folder: Path, *durations: float, text: str | None = "HELLO WORLD", texts: Sequence[str] = ()) -> Path:
    """Write a data directory with an utterance of noise of each duration in seconds, by two speakers.

    All have the transcript ``text``, or each its own of ``texts``.
    """
    utts = []
    (folder / "audio").mkdir()
    for i, duration in enumerate(durations):
        utt_id = f"spk{i % 2}-{i:03d}"
        path = folder / f"audio/{utt_id}.wav"
        noise = np.random.default_rng(i).uniform(-0.5, 0.5, round(duration * 16000))
        soundfile.write(path, noise, 16000, subtype="FLOAT")
        own = texts[i] if texts else text
        utts.append(Utterance(utt_id=utt_id, speaker=utt_id[:4], path=path, duration=duration, text=own))
    write_data_dir(folder / "noise", utts)
    return folder / "noise"


def make_dump(
    folder: Path, *durations: float, encoded: bool = False, compress: bool = False, text: str | None = "HELLO WORLD"
) -> Path:
    """Write a dump of such a directory, of features or of encoder states, in one job."""
    data_dir, out_dir = make_data_dir(folder, *durations, text=text), folder / "dump"
    dump_job(data_dir, out_dir, half if encoded else energies, {"type": "toy"}, 16000, 1, 1, compress)
    merge_dump(data_dir, out_dir, 1)
    return out_dir

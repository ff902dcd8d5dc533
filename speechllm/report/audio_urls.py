"""URLs of the audio of utterances in a web page: of files, or data URIs."""

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import soundfile

from speechllm.data.audio.read import read_audio
from speechllm.data.kaldi.data_dir import Utterance, read_data_dir
from speechllm.errors import DataError
from speechllm.report.tables import is_control

EMBEDDED_RATE = 16000
"""Sampling rate of embedded audio (Hz)."""


def audio_urls(data: Path, decoded: Iterable[str], page_dir: Path) -> dict[str, dict[str, str]]:
    """Return the URL of the audio of each utterance.

    Args:
        data: parent of the data directories.
        decoded: names of decodings: the name of a set, with an optional suffix after "_", such as the name of a decode
            section. A shuffled-audio control has no audio.
        page_dir: directory of the page; URLs are relative to it.

    Returns:
        URLs by utterance id, by name of the decoding, for decodings with a data directory.
    """
    return {
        name: {utt.utt_id: _url(utt, page_dir) for utt in read_data_dir(folder, need_text=False).utts}
        for name, folder in _data_dirs(data, decoded).items()
    }


def embedded_audio(data: Path, chosen: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return the audio of utterances as data URIs: MP3 of 16 kHz, which all browsers play.

    Args:
        data: parent of the data directories.
        chosen: utterance ids by name of the decoding, as in ``audio_urls``.
    """
    found = {}
    for name, folder in _data_dirs(data, chosen).items():
        utts = {utt.utt_id: utt for utt in read_data_dir(folder, need_text=False).utts}
        found[name] = {utt_id: _data_uri(utts[utt_id]) for utt_id in chosen[name] if utt_id in utts}
    return found


def _data_dirs(data: Path, decoded: Iterable[str]) -> dict[str, Path]:
    """Return the data directories of decodings, without those of shuffled-audio controls."""
    if not data.is_dir():
        raise DataError(
            f"{data}: no such directory, expected the parent of the data directories; correct --data or leave it out"
        )
    found = {}
    for name in decoded:
        sets = [
            path for path in data.iterdir() if f"{name}_".startswith(f"{path.name}_") and (path / "wav.scp").exists()
        ]
        if sets and not is_control(name):
            found[name] = max(sets, key=lambda path: len(path.name))
    return found


def _data_uri(utt: Utterance) -> str:
    samples_N = read_audio(utt.path, EMBEDDED_RATE, utt.start, utt.end)
    file = io.BytesIO()
    soundfile.write(file, samples_N, EMBEDDED_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _url(utt: Utterance, page_dir: Path) -> str:
    path = quote(Path(os.path.relpath(utt.path, page_dir)).as_posix())
    if utt.end is None and utt.start == 0:
        return path
    return f"{path}#t={utt.start:g}" + (f",{utt.end:g}" if utt.end is not None else "")

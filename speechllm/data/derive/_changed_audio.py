"""Copies of data directories with changed audio."""

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from speechllm.data.audio.read import audio_duration, read_audio
from speechllm.data.audio.write import write_audio
from speechllm.data.kaldi.data_dir import Utterance, directory_fingerprint, read_data_dir, write_data_dir
from speechllm.data.kaldi.target import (
    SUFFIXES,
    UTT_IDS,
    check_apart,
    check_file_names,
    check_target,
    is_made,
    new_target,
)
from speechllm.errors import DataError
from speechllm.provenance import files_fingerprint

SAMPLE_RATE = 16000  # Hz

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Maps samples_N at 16 kHz, and a generator of the utterance's own, to the samples_N of the copy."""
Make = Callable[[Utterance], np.ndarray]
"""Maps a new utterance to its samples_N at 16 kHz."""


def copy_changed(source: str | Path, target: str | Path, prefix: str, change: Change, *, by: str) -> bool:
    """Write a copy of ``source`` with audio changed by ``change``; the audio goes to ``<target>_audio``.

    Utterance and speaker ids get the prefix ``<prefix>-``. An interrupted run is continued.

    Args:
        source: data directory.
        target: data directory.
        prefix: prefix of the ids.
        change: function that changes samples.
        by: description of ``change`` with its parameters; part of the fingerprint.

    Returns:
        Whether anything was written; False if the target is complete.

    Raises:
        DataError: if the source cannot be read, an id is not a valid file name, or files that no verb wrote would be
            lost.
    """
    utts = read_data_dir(source, need_text=False).utts
    originals = {f"{prefix}-{utt.utt_id}": utt for utt in utts}

    def make(utt: Utterance) -> np.ndarray:
        original = originals[utt.utt_id]
        samples_N = read_audio(original.path, SAMPLE_RATE, original.start, original.end)
        return change(samples_N, np.random.default_rng(zlib.crc32(utt.utt_id.encode())))

    copies = [
        replace(utt, utt_id=utt_id, speaker=f"{prefix}-{utt.speaker}", start=0.0, end=None, recording="")
        for utt_id, utt in originals.items()
    ]
    return write_with_audio(source, target, copies, make, by=by, title=prefix, files={utt.path for utt in utts})


def write_with_audio(
    source: str | Path,
    target: str | Path,
    utts: Sequence[Utterance],
    make: Make,
    *,
    by: str,
    title: str,
    files: Iterable[Path],
) -> bool:
    """Write a data directory of new utterances, and their audio to ``<target>_audio``.

    Args:
        source: data directory of the original utterances.
        target: data directory.
        utts: new utterances; path and duration are set here.
        make: function that returns the samples of an utterance.
        by: command, for ``is_made``.
        title: title of the progress bar.
        files: audio files of the source.

    Returns:
        Whether anything was written; False if the same command has written the target from the same tables and files.

    Raises:
        DataError: as ``copy_changed``.
    """
    check_file_names((utt.utt_id for utt in utts), target)
    files = sorted(file for file in files if file.is_file())
    fingerprint = f"{by}\n{directory_fingerprint(source)} {files_fingerprint(files)}\n"
    audio = Path(f"{Path(target)}_audio")
    if is_made(target, fingerprint) and is_made(audio, fingerprint):
        return False
    check_target(target, [source], None if is_made(audio, fingerprint) else audio)
    if not is_made(audio, fingerprint):  # otherwise an interrupted run is continued
        for folder in {os.path.realpath(file.parent) for file in files}:
            check_apart(audio, folder, inside=False)
        with new_target(audio, "audio", fingerprint) as temporary:
            (temporary / UTT_IDS).write_text("".join(f"{utt.utt_id}\n" for utt in utts), encoding="utf-8")
    written = [_write(utt, make, audio) for utt in tqdm(utts, desc=title, unit="utt", dynamic_ncols=True)]
    write_data_dir(target, written, fingerprint=fingerprint)
    return True


def _write(utt: Utterance, make: Make, folder: Path) -> Utterance:
    """Write the audio of an utterance unless its file is complete; return the utterance with path and duration."""
    for suffix in SUFFIXES:
        path = folder / f"{utt.utt_id}{suffix}"
        if path.exists() and (duration := _duration(path)):
            return replace(utt, path=path, duration=duration)
    samples_N = make(utt)
    path = write_audio(folder / utt.utt_id, samples_N, SAMPLE_RATE)
    return replace(utt, path=path, duration=len(samples_N) / SAMPLE_RATE)


def _duration(path: Path) -> float | None:
    """Return the duration of a file; None if it is damaged, e.g. by a power failure."""
    try:
        return audio_duration(path)
    except DataError:
        return None

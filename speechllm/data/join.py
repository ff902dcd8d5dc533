"""Utterances joined once and for all, in the order of the audiobook: long test sets and long training sets.

arXiv 2309.13963, table 6: neighbours of one chapter are joined up to T seconds. The joined audio is written as FLAC
(as WAV where it goes beyond full scale), so the new data directory is like any other. Each utterance begins on a hop
boundary of 10 ms: the silence before it is rounded up.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from speechllm.data.audio import read_audio, write_audio
from speechllm.data.data_dir import Utterance, fingerprint, is_made, read_data_dir, write_data_dir
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples


def join_data_dir(source: str | Path, target: str | Path, duration: Seconds, silence: Seconds = 0.1) -> bool:
    """Write a data directory of neighbouring utterances joined, and their audio into ``<target>_audio``.

    Args:
        source: data directory with transcripts.
        target: data directory.
        duration: a joined utterance is at most this long; a single one that is longer stays as it is.
        silence: between two utterances, at least.

    Returns:
        Whether anything was written: not if the target is there already.

    Raises:
        DataError: if the source cannot be read, or has no transcripts.
    """
    if duration <= 0 or silence < 0:
        raise DataError(f"join: found {duration} s and a silence of {silence} s, expected more than 0, and at least 0")
    made_by = f"join {duration} {silence}\n{fingerprint(source)}\n"
    if is_made(target, made_by):
        return False
    audio = Path(f"{Path(target)}_audio")
    groups = neighbours(read_data_dir(source).utts, duration, silence)
    joined = [_write_joined(group, audio, silence) for group in tqdm(groups, desc="join", unit="utt")]
    write_data_dir(target, joined, made_by=made_by)
    return True


def neighbours(utts: Sequence[Utterance], duration: Seconds, silence: Seconds) -> list[list[Utterance]]:
    """Cut the utterances of each chapter, in order, into runs of at most ``duration`` seconds.

    A chapter is what utterance ids share up to their last hyphen, as in LibriSpeech's SPEAKER-CHAPTER-NNNN.
    """
    groups: list[list[Utterance]] = []
    total = 0.0
    for utt in sorted(utts, key=lambda utt: utt.utt_id):
        longer = total + math.ceil(silence * SAMPLE_RATE / HOP + 1) * HOP / SAMPLE_RATE + utt.duration
        if groups and chapter(groups[-1][0]) == chapter(utt) and longer <= duration:
            groups[-1].append(utt)
            total = longer
        else:
            groups.append([utt])
            total = utt.duration
    return groups


def chapter(utt: Utterance) -> tuple[str, str]:
    """Return what only utterances share that may be joined: the speaker, and the id up to its last hyphen."""
    return utt.speaker, utt.utt_id.rpartition("-")[0]


def joined_samples(parts: Sequence[np.ndarray], silence: Seconds) -> np.ndarray:
    """Return utterances (samples_N at 16 kHz) joined, each beginning on a hop boundary."""
    samples_N = parts[0]
    for part_N in parts[1:]:
        start = -(-(len(samples_N) + round(silence * SAMPLE_RATE)) // HOP) * HOP
        samples_N = np.concatenate([np.pad(samples_N, (0, start - len(samples_N))), part_N])
    return samples_N


def _write_joined(group: Sequence[Utterance], audio: Path, silence: Seconds) -> Utterance:
    """Write the audio of a run; return the utterance that it is, named by its first and the number of them."""
    utt_id = f"{group[0].utt_id}+{len(group) - 1}" if len(group) > 1 else group[0].utt_id
    samples_N = joined_samples([read_audio(utt.path, SAMPLE_RATE, utt.start, utt.end) for utt in group], silence)
    path = write_audio(audio / utt_id, samples_N, SAMPLE_RATE)
    text = " ".join(utt.text or "" for utt in group)
    duration = len(samples_N) / SAMPLE_RATE
    return replace(group[0], utt_id=utt_id, path=path, start=0.0, end=None, recording="", text=text, duration=duration)

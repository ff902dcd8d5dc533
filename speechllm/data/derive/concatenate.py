"""Long test and training sets: utterances concatenated once, in the order of the audiobook.

As in arXiv 2309.13963, table 6, neighbours of one chapter are concatenated up to T seconds. The audio is written as
FLAC (as WAV if it exceeds full scale), so the result is an ordinary data directory. Each utterance begins on a hop
boundary of 10 ms: the silence before it is rounded up.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechllm.data.audio.read import read_audio
from speechllm.data.context import join_contexts
from speechllm.data.derive._changed_audio import write_with_audio
from speechllm.data.kaldi.data_dir import Utterance, read_data_dir
from speechllm.errors import DataError
from speechllm.interfaces import Seconds

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples


def concatenate_data_dir(source: str | Path, target: str | Path, duration: Seconds, silence: Seconds = 0.1) -> bool:
    """Write a data directory of concatenated neighbouring utterances, and their audio to ``<target>_audio``.

    Args:
        source: data directory with transcripts.
        target: data directory.
        duration: maximum duration of a concatenation; longer single utterances are kept.
        silence: minimum silence between two utterances.

    Returns:
        Whether anything was written; False if the target is complete.

    Raises:
        DataError: if the source cannot be read, or has no transcripts.
    """
    if duration <= 0 or silence < 0:
        raise DataError(
            f"concatenate: found {duration} s and a silence of {silence} s, expected more than 0 s and at least 0 s"
        )
    utts = read_data_dir(source).utts
    groups = {_concatenated_id(group): group for group in neighbours(utts, duration, silence)}

    def make(utt: Utterance) -> np.ndarray:
        parts = [read_audio(part.path, SAMPLE_RATE, part.start, part.end) for part in groups[utt.utt_id]]
        return joined_samples(parts, silence)

    concatenated = [_concatenated(utt_id, group) for utt_id, group in groups.items()]
    files = {utt.path for utt in utts}
    return write_with_audio(
        source, target, concatenated, make, by=f"concatenate {duration} {silence}", title="concatenate", files=files
    )


def neighbours(utts: Sequence[Utterance], duration: Seconds, silence: Seconds) -> list[list[Utterance]]:
    """Split the utterances of each chapter, in order, into runs of at most ``duration`` seconds.

    The chapter is the utterance id up to its last hyphen, as in LibriSpeech's SPEAKER-CHAPTER-NNNN.
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
    """Return the speaker, and the id up to its last hyphen: only utterances that agree in both are concatenated."""
    return utt.speaker, utt.utt_id.rpartition("-")[0]


def joined_samples(parts: Sequence[np.ndarray], silence: Seconds) -> np.ndarray:
    """Return utterances (samples_N at 16 kHz) concatenated, each beginning on a hop boundary."""
    samples_N = parts[0]
    for part_N in parts[1:]:
        start = -(-(len(samples_N) + round(silence * SAMPLE_RATE)) // HOP) * HOP
        samples_N = np.concatenate([np.pad(samples_N, (0, start - len(samples_N))), part_N])
    return samples_N


def _concatenated_id(group: Sequence[Utterance]) -> str:
    """Return the id of a run: the id of its first utterance and the number of the others."""
    return f"{group[0].utt_id}+{len(group) - 1}" if len(group) > 1 else group[0].utt_id


def _concatenated(utt_id: str, group: Sequence[Utterance]) -> Utterance:
    text = " ".join(utt.text or "" for utt in group)
    context = join_contexts(utt.context for utt in group)
    return replace(group[0], utt_id=utt_id, start=0.0, end=None, recording="", text=text, context=context)

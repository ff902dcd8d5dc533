"""A copy of a data directory whose audio is changed, utterance by utterance: what the makers of such copies share."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from speechllm.atomic import new_dir
from speechllm.data.audio import read_audio, write_audio
from speechllm.data.data_dir import Utterance, fingerprint, is_made, read_data_dir, write_data_dir

SAMPLE_RATE = 16000  # Hz

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""samples_N at 16 kHz to those of the copy; what it draws is the utterance's own."""


def copy_changed(source: str | Path, target: str | Path, prefix: str, change: Change, *, by: str) -> bool:
    """Write the utterances of ``source`` as ``change`` leaves them, and their audio into ``<target>_audio``.

    Utterance and speaker ids get the prefix ``<prefix>-``. A run that was cut off goes on where it stopped.

    Args:
        source: data directory.
        target: data directory.
        prefix: of the ids.
        change: makes the copy.
        by: what ``change`` does, in words and numbers that differ where it does.

    Returns:
        Whether anything was written: not if the target is there already.
    """
    made_by = f"{by}\n{fingerprint(source)}\n"
    if is_made(target, made_by):
        return False
    utts = read_data_dir(source, need_text=False).utts
    audio = Path(f"{Path(target)}_audio")
    if not is_made(audio, made_by):  # what lies there may be of other tables
        with new_dir(audio) as temporary:
            (temporary / "made_by").write_text(made_by, encoding="utf-8")
    copies = [_copy(utt, prefix, change, audio) for utt in tqdm(utts, desc=prefix, dynamic_ncols=True)]
    write_data_dir(target, copies, made_by=made_by)
    return True


def _copy(utt: Utterance, prefix: str, change: Change, folder: Path) -> Utterance:
    """Return the copy of an utterance; its audio is written unless it is there."""
    utt_id = f"{prefix}-{utt.utt_id}"
    path = next((path for end in (".flac", ".wav") if (path := folder / f"{utt_id}{end}").exists()), None)
    if path is None:
        samples_N = read_audio(utt.path, SAMPLE_RATE, utt.start, utt.end)
        rng = np.random.default_rng(zlib.crc32(utt_id.encode()))
        path = write_audio(folder / utt_id, change(samples_N, rng), SAMPLE_RATE)
    return replace(
        utt,
        utt_id=utt_id,
        speaker=f"{prefix}-{utt.speaker}",
        path=path,
        start=0.0,
        end=None,
        duration=soundfile.info(path).frames / SAMPLE_RATE,
        recording="",
    )

"""A copy of a data directory that is spoken faster or slower, and so higher or lower: Kaldi's speed perturbation.

Ko et al. (2015), "Audio augmentation for speech recognition". Frozen encoder states can be dumped of the copies, which
is not so of what is changed in each training step.
"""

from dataclasses import replace
from pathlib import Path

import soundfile
from tqdm import tqdm

from speechllm.data.atomic import new_dir
from speechllm.data.audio import read_audio, resample, write_audio
from speechllm.data.data_dir import Utterance, fingerprint, is_made, read_data_dir, write_data_dir
from speechllm.errors import DataError

SAMPLE_RATE = 16000  # Hz
MIN_FACTOR, MAX_FACTOR = 0.5, 2.0


def perturb_speed(source: str | Path, target: str | Path, factor: float) -> bool:
    """Write the utterances of ``source`` at ``factor`` times their speed, and their audio into ``<target>_audio``.

    Utterance and speaker ids get the prefix ``sp<factor>-``. A run that was cut off goes on where it stopped.

    Args:
        source: data directory.
        target: data directory.
        factor: 0.9 is slower and lower, 1.1 faster and higher.

    Returns:
        Whether anything was written: not if the target is there already.

    Raises:
        DataError: if the factor is no speed of speech.
    """
    if not MIN_FACTOR <= factor <= MAX_FACTOR or factor == 1:
        expected = f"{MIN_FACTOR} to {MAX_FACTOR} and not 1, which is the set itself; leave it out"
        raise DataError(f"{target}: found the speed {factor}, expected {expected}")
    made_by = f"perturb_speed {factor}\n{fingerprint(source)}\n"
    if is_made(target, made_by):
        return False
    utts = read_data_dir(source, need_text=False).utts
    audio = Path(f"{Path(target)}_audio")
    if not is_made(audio, made_by):  # what lies there may be of other tables
        with new_dir(audio) as temporary:
            (temporary / "made_by").write_text(made_by, encoding="utf-8")
    copies = [_perturb(utt, factor, audio) for utt in tqdm(utts, desc=f"speed {factor}", dynamic_ncols=True)]
    write_data_dir(target, copies, made_by=made_by)
    return True


def _perturb(utt: Utterance, factor: float, folder: Path) -> Utterance:
    """Return the copy of an utterance; its audio is written unless it is there."""
    utt_id = f"sp{factor:g}-{utt.utt_id}"
    path = next((path for end in (".flac", ".wav") if (path := folder / f"{utt_id}{end}").exists()), None)
    if path is None:
        samples_N = read_audio(utt.path, SAMPLE_RATE, utt.start, utt.end)
        path = write_audio(folder / utt_id, resample(samples_N, round(SAMPLE_RATE * factor), SAMPLE_RATE), SAMPLE_RATE)
    return replace(
        utt,
        utt_id=utt_id,
        speaker=f"sp{factor:g}-{utt.speaker}",
        path=path,
        start=0.0,
        end=None,
        duration=soundfile.info(path).frames / SAMPLE_RATE,
        recording="",
    )

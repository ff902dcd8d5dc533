"""Make data directories from others: a part, a union, or speakers held out.

Each does nothing where its output is there already, made in the same way from the same tables.
"""

import hashlib
from collections.abc import Sequence, Set
from pathlib import Path

from speechllm.data.kaldi.data_dir import (
    Utterance,
    directory_fingerprint,
    is_made,
    read_data_dir,
    read_language,
    write_data_dir,
    write_language,
)
from speechllm.data.kaldi.table import read_table
from speechllm.data.kaldi.target import check_apart, check_target
from speechllm.errors import DataError
from speechllm.interfaces import Seconds


def subset_data_dir(
    source: str | Path,
    target: str | Path,
    *,
    utts: Set[str] | None = None,
    speakers: Set[str] | None = None,
    max_duration: Seconds | None = None,
    first: int | None = None,
    random: int | None = None,
    seed: int = 0,
) -> bool:
    """Write the utterances of ``source`` that satisfy every condition given.

    Args:
        source: data directory.
        target: data directory.
        utts: only these utterances.
        speakers: only these speakers.
        max_duration: only utterances of at most this duration.
        first: only so many of what is left, in the order of their ids.
        random: only so many of what is left, drawn with ``seed``; a smaller draw is a part of a larger one.
        seed: of the draw.

    Returns:
        Whether anything was written: not if the target is there already.

    Raises:
        DataError: if an utterance or a speaker is not in ``source``, or fewer utterances are left than asked for.
    """
    asked = [_listed(utts), _listed(speakers), max_duration, first, random, seed]
    fingerprint = f"subset {asked}\n{directory_fingerprint(source)}\n"
    if is_made(target, fingerprint):
        return False
    check_target(target, [source])
    chosen = read_data_dir(source, need_text=False).utts
    _check_known(source, "utterance", utts, {utt.utt_id for utt in chosen})
    _check_known(source, "speaker", speakers, {utt.speaker for utt in chosen})
    if utts is not None:
        chosen = [utt for utt in chosen if utt.utt_id in utts]
    if speakers is not None:
        chosen = [utt for utt in chosen if utt.speaker in speakers]
    if max_duration is not None:
        chosen = [utt for utt in chosen if utt.duration <= max_duration]
    if first is not None:
        _check_number(source, first, chosen)
        chosen = chosen[:first]
    if random is not None:
        _check_number(source, random, chosen)
        chosen = sorted(chosen, key=lambda utt: _draw(seed, utt.utt_id))[:random]
    write_data_dir(target, chosen, fingerprint=fingerprint)
    write_language(target, read_language(source))
    return True


def combine_data_dirs(sources: Sequence[str | Path], target: str | Path) -> bool:
    """Write all utterances of several directories into one.

    Returns:
        Whether anything was written: not if the target is there already.

    Raises:
        DataError: if an utterance is in two of them, or one recording id names two files.
    """
    fingerprint = "\n".join(["combine", *map(directory_fingerprint, sources), ""])
    if is_made(target, fingerprint):
        return False
    check_target(target, sources)
    utts: dict[str, Utterance] = {}
    dropped: dict[str, str] = {}
    for source in map(Path, sources):
        found = {utt.utt_id: utt for utt in read_data_dir(source, need_text=False).utts}
        if twice := sorted(utts.keys() & found.keys()):
            raise DataError(f"{source}: {len(twice)} utterances are in another directory, too, the first {twice[0]}")
        utts |= found
        dropped |= read_table(source / "dropped") if (source / "dropped").is_file() else {}
    write_data_dir(target, utts.values(), dropped, fingerprint)
    if len(languages := set(map(read_language, sources))) == 1:
        write_language(target, languages.pop())
    return True


def hold_out_speakers(
    source: str | Path, train: str | Path, valid: str | Path, num_speakers: int, seed: int = 0
) -> list[str]:
    """Split a directory in two, so that ``valid`` has the speech of some speakers and ``train`` that of all others.

    Args:
        source: data directory.
        train: data directory for training.
        valid: data directory for validation.
        num_speakers: of ``valid``, drawn with ``seed``.
        seed: of the draw.

    Returns:
        The speakers held out.

    Raises:
        DataError: unless some speakers are left for training.
    """
    check_apart(train, valid)
    utts = read_data_dir(source, need_text=False).utts
    speakers = sorted({utt.speaker for utt in utts}, key=lambda speaker: _draw(seed, speaker))
    if not 0 < num_speakers < len(speakers):
        raise DataError(
            f"{source}: found {len(speakers)} speakers, asked to hold out {num_speakers}; "
            "at least one must be held out and one left"
        )
    held_out = set(speakers[:num_speakers])
    for target, wanted in ((train, set(speakers[num_speakers:])), (valid, held_out)):
        subset_data_dir(source, target, speakers=wanted)
    return sorted(held_out)


def _draw(seed: int, key: str) -> bytes:
    """Return a random number that depends on nothing but seed and id."""
    return hashlib.sha256(f"{seed} {key}".encode()).digest()


def _listed(keys: Set[str] | None) -> list[str] | None:
    return None if keys is None else sorted(keys)


def _check_number(source: str | Path, asked: int, found: Sequence[Utterance]) -> None:
    if not 0 < asked <= len(found):
        raise DataError(
            f"{source}: found {len(found)} utterances to choose from, expected at least the {asked} asked for"
        )


def _check_known(source: str | Path, kind: str, asked: Set[str] | None, known: Set[str]) -> None:
    unknown = sorted((asked or set()) - known)
    if unknown:
        raise DataError(f"{source}: {len(unknown)} of the {kind}s asked for are not in it, the first {unknown[0]!r}")

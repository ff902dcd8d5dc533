"""Data directories made from others: a subset, a union, or held-out speakers or transcripts.

Each function does nothing if its output already exists, made by the same command from the same tables.
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
    """Write the utterances of ``source`` that satisfy every given condition.

    Args:
        source: data directory.
        target: data directory.
        utts: only these utterances.
        speakers: only these speakers.
        max_duration: only utterances of at most this duration.
        first: keep this number of the remaining utterances, in the order of their ids.
        random: keep this number of the remaining utterances, chosen at random; a smaller choice is a subset of a
            larger one.
        seed: random seed.

    Returns:
        Whether anything was written; False if the target already exists.

    Raises:
        DataError: if an utterance or a speaker is not in ``source``, or fewer utterances are left than requested.
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
    """Write all utterances of several directories to one.

    Returns:
        Whether anything was written; False if the target already exists.

    Raises:
        DataError: if an utterance id occurs twice, or a recording id is used for two files.
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
            raise DataError(f"{source}: {len(twice)} utterances are also in another directory, the first {twice[0]}")
        utts |= found
        dropped |= read_table(source / "dropped") if (source / "dropped").is_file() else {}
    write_data_dir(target, utts.values(), dropped, fingerprint)
    if len(languages := set(map(read_language, sources))) == 1:
        write_language(target, languages.pop())
    return True


def hold_out_speakers(
    source: str | Path, train: str | Path, valid: str | Path, num_speakers: int, seed: int = 0
) -> list[str]:
    """Split a directory into ``valid``, with some speakers, and ``train``, with all others.

    Args:
        source: data directory.
        train: data directory for training.
        valid: data directory for validation.
        num_speakers: number of speakers of ``valid``, chosen at random.
        seed: random seed.

    Returns:
        The speakers held out.

    Raises:
        DataError: if no speaker is held out or none is left for training.
    """
    check_apart(train, valid)
    utts = read_data_dir(source, need_text=False).utts
    speakers = sorted({utt.speaker for utt in utts}, key=lambda speaker: _draw(seed, speaker))
    if not 0 < num_speakers < len(speakers):
        raise DataError(
            f"{source}: found {len(speakers)} speakers and {num_speakers} to hold out, "
            "expected at least one to hold out and one to keep; change the number"
        )
    held_out = set(speakers[:num_speakers])
    for target, wanted in ((train, set(speakers[num_speakers:])), (valid, held_out)):
        subset_data_dir(source, target, speakers=wanted)
    return sorted(held_out)


def hold_out_transcripts(
    source: str | Path, train: str | Path, valid: str | Path, num_utts: int, seed: int = 0
) -> None:
    """Split a directory in two that have no transcript in common, for the speech of a single speaker.

    Args:
        source: data directory.
        train: data directory for training.
        valid: data directory for validation.
        num_utts: utterances of ``valid``, at most, of transcripts drawn with ``seed``.
        seed: of the draw.

    Raises:
        DataError: unless some utterances are held out and some are left for training.
    """
    check_apart(train, valid)
    of_text: dict[str, list[str]] = {}
    for utt in read_data_dir(source).utts:
        of_text.setdefault((utt.text or "").casefold(), []).append(utt.utt_id)
    held_out: set[str] = set()
    for text in sorted(of_text, key=lambda text: _draw(seed, text)):
        if len(held_out) + len(of_text[text]) <= num_utts:
            held_out.update(of_text[text])
    left = {utt_id for utt_ids in of_text.values() for utt_id in utt_ids} - held_out
    if not held_out or not left:
        raise DataError(
            f"{source}: found {len(of_text)} different transcripts of {len(held_out) + len(left)} utterances and "
            f"{num_utts} to hold out, expected at least one to hold out and one to keep; change the number"
        )
    for target, wanted in ((train, left), (valid, held_out)):
        subset_data_dir(source, target, utts=wanted)


def _draw(seed: int, key: str) -> bytes:
    """Return a random number that depends only on seed and id."""
    return hashlib.sha256(f"{seed} {key}".encode()).digest()


def _listed(keys: Set[str] | None) -> list[str] | None:
    return None if keys is None else sorted(keys)


def _check_number(source: str | Path, asked: int, found: Sequence[Utterance]) -> None:
    if not 0 < asked <= len(found):
        raise DataError(
            f"{source}: found {len(found)} utterances to choose from, expected at least {asked}, the number to keep"
        )


def _check_known(source: str | Path, kind: str, asked: Set[str] | None, known: Set[str]) -> None:
    unknown = sorted((asked or set()) - known)
    if unknown:
        raise DataError(f"{source}: {len(unknown)} of the requested {kind}s are missing, the first {unknown[0]!r}")

"""Names of sets: their data directories, and suffixes that derive a set from another set.

A set is given by its name, and its data directory is ``data/<name>``; or by the path of a data directory elsewhere,
such as that of another recipe. These names are derived:

    X_train2, X_valid2   X without two random speakers; these speakers alone
    X_sp0.9              X at 0.9 times its speed
    X_aug                X with the noise, reverberation and codecs of data.augment
    X_cat60              neighbouring utterances of X, concatenated up to 60 seconds
    X_shuffled           X, each utterance decoded with the audio of another utterance: a control that uses X's data
    non_speech           silence and synthetic noise, without transcripts

Suffixes can be combined: ``train_clean_5_train2_sp0.9``. An existing set with such a name that was not derived, for
example a set of the corpus, is used unchanged.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.derive.augment import Augmentation, augment
from speechllm.data.derive.concatenate import concatenate_data_dir
from speechllm.data.derive.non_speech import make_non_speech
from speechllm.data.derive.speed import perturb_speed
from speechllm.data.kaldi.data_dir import read_language, write_language
from speechllm.data.kaldi.subset import hold_out_speakers
from speechllm.data.kaldi.target import marker
from speechllm.errors import DataError

NON_SPEECH = "non_speech"
SHUFFLED = "_shuffled"
DERIVED_BY = ("subset", "perturb_speed", "augment", "concatenate", "non_speech")
"""First words of the marker of a derived set."""
_SUFFIX = re.compile(
    r"(?P<source>.+)_(?:(?P<kind>sp|cat)(?P<number>\d+(?:\.\d+)?)|(?P<part>train|valid)(?P<n>\d+)|aug)"
)


@dataclass(frozen=True)
class DataSet:
    """A set on the command line of a verb."""

    name: str
    """Name of the dump; for a set of another recipe, prefixed with the name of that recipe."""
    data_dir: Path
    shuffled: bool = False
    """Whether each utterance is decoded with the audio of another utterance."""

    def decode_dir(self, exp_dir: Path, tag: str = "") -> Path:
        """Return the directory of the hypotheses; ``tag`` is the name of a decoding with other options."""
        return exp_dir / "decode" / f"{self.name}{f'_{tag}' if tag else ''}{SHUFFLED * self.shuffled}"


def locate(sets: Iterable[str], data: Path, *, shuffled: bool = True) -> list[DataSet]:
    """Return the sets of the given names or paths.

    Args:
        sets: names of sets below ``data``, or paths of data directories, which contain a slash.
        data: parent of the data directories.
        shuffled: whether to return shuffled sets; otherwise return their sources instead.

    Raises:
        DataError: if two directories have the same name.
    """
    found: dict[tuple[str, bool], DataSet] = {}
    for given in sets:
        plain = given.removesuffix(SHUFFLED)
        path = Path(plain) if "/" in plain else data / plain
        name = path.name if path.parent == data else _name_elsewhere(path)
        one = DataSet(name, path, shuffled and plain != given)
        other = found.setdefault((name, one.shuffled), one)
        if other.data_dir != path:
            raise DataError(f"{path}: found the set name {name}, which {other.data_dir} has too; rename one of them")
    return list(found.values())


def corpus_sets(names: Iterable[str], has_set: Callable[[str], bool]) -> list[str]:
    """Return the sets of a corpus that are named, or that a named set is derived from.

    Args:
        names: names of sets; paths of data directories and ``non_speech`` are ignored.
        has_set: returns whether the corpus has a set of a name.
    """
    sources: dict[str, None] = {}
    for name in names:
        if "/" in name or name.removesuffix(SHUFFLED) == NON_SPEECH:
            continue
        name = name.removesuffix(SHUFFLED)
        while not has_set(name) and (match := _SUFFIX.fullmatch(name)):
            name = match["source"]
        sources[name] = None
    return list(sources)


def derive(names: Sequence[str], data: Path, augmentation: Callable[[], Augmentation]) -> None:
    """Write the missing derived sets below ``data``, and the intermediate sets that they are derived from.

    Args:
        names: names of sets, derived or not.
        data: parent of the data directories.
        augmentation: returns the augmentation of ``_aug`` sets; called only if there is such a set.

    Raises:
        DataError: if a source is missing or too small.
    """
    for name in names:
        name = name.removesuffix(SHUFFLED)
        if name == NON_SPEECH:
            make_non_speech(data / name)
        elif (match := _SUFFIX.fullmatch(name)) and _may_derive(data / name):
            derive([match["source"]], data, augmentation)
            _derive(match, data, augmentation)
            write_language(data / name, read_language(data / match["source"]))


def _derive(match: re.Match[str], data: Path, augmentation: Callable[[], Augmentation]) -> None:
    """Write a derived set from its source."""
    source, target = data / match["source"], data / match[0]
    if match["part"]:
        train, valid = (Path(f"{source}_{part}{match['n']}") for part in ("train", "valid"))
        speakers = hold_out_speakers(source, train, valid, int(match["n"]))
        print(f"{source}: held out the speakers {' '.join(speakers)}")
    elif match["kind"] == "sp":
        perturb_speed(source, target, float(match["number"]))
    elif match["kind"] == "cat":
        concatenate_data_dir(source, target, float(match["number"]))
    else:
        augment(source, target, augmentation())


def _may_derive(target: Path) -> bool:
    """Whether a data directory is missing or was derived, so that it may be written."""
    file = marker(target)
    if not (target / "wav.scp").exists():
        return True
    return file.is_file() and file.read_text(encoding="utf-8", errors="replace").startswith(DERIVED_BY)


def _name_elsewhere(path: Path) -> str:
    """Return the name ``<recipe>_<set>`` of a data directory ``<recipe>/data/<set>``."""
    parent = Path(os.path.normpath(path.absolute())).parent
    parts = Path(os.path.relpath(parent.parent, os.pardir)).parts
    if os.pardir in parts:  # not a sibling of this recipe
        parts = (parent.parent.name or parent.name,)
    return "_".join([*parts, path.name])

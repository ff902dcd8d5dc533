"""Conversion of the corpus of make_mini_librispeech.py to the layouts of other corpora."""

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import make_mini_librispeech


class Spoken(NamedTuple):
    """An utterance of the mini corpus in LibriSpeech's layout."""

    subset: str
    """Name of the set: train, dev or test."""
    speaker: str
    utt_id: str
    audio: Path
    text: str


def make(argv: Sequence[str] | None, description: str | None, name: str, convert: Callable[[Path, Path], None]) -> int:
    """Write a corpus with the options of the command line; return the exit status.

    Args:
        argv: command line.
        description: help of the program.
        name: folder of the corpus, created atomically.
        convert: function that converts the corpus in the first folder, in LibriSpeech's layout, to the second, empty
            folder.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help=f"parent of the new folder {name}/")
    parser.add_argument("--train", type=int, default=2400, help="training utterances (%(default)s)")
    parser.add_argument("--dev", type=int, default=60, help="validation utterances (%(default)s)")
    parser.add_argument("--test", type=int, default=240, help="test utterances, half by the unseen voice (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (all cores: %(default)s)")
    args = parser.parse_args(argv)
    target = args.out / name
    if target.is_dir():
        print(f"The mini corpus exists already in {target}; delete that directory to create it again.")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        counts = [f"--{name}={getattr(args, name)}" for name in ("train", "dev", "test", "jobs")]
        if status := make_mini_librispeech.main([folder, *counts]):
            return status
        new = Path(folder) / "new"
        new.mkdir()
        convert(Path(folder) / "LibriSpeech", new)
        new.rename(target)
    return 0


def spoken(source: Path) -> Iterator[Spoken]:
    """Yield the utterances of a mini corpus in LibriSpeech's layout, grouped by set and speaker."""
    for transcripts in sorted(source.rglob("*.trans.txt")):
        subset, speaker = transcripts.relative_to(source).parts[:2]
        for line in transcripts.read_text(encoding="utf-8").splitlines():
            utt, _, text = line.partition(" ")
            yield Spoken(subset.removesuffix("-mini"), speaker, utt, transcripts.with_name(f"{utt}.flac"), text)


def batches(utts: Iterable[Spoken], size: int) -> Iterator[list[Spoken]]:
    """Yield the utterances in lists of ``size``; the last list may be shorter."""
    utts = iter(utts)
    while together := list(itertools.islice(utts, size)):
        yield together

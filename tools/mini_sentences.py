"""Sentences of the mini corpus from a small grammar: commands, appointments, numbers, dates and single letters.

A rule is a line of words; a word in braces is drawn from its list. All sentences of a draw are distinct, so sets made
from one draw do not share sentences.
"""

import random

MONTHS = "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
LISTS = {
    "digit": "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE",
    "number": "TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE TWENTY THIRTY FORTY FIFTY",
    "hour": "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE",
    "letter": "F H J K L M O R S W X Y Z",
    "ordinal": "FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH TWELFTH",
    "month": MONTHS,
    "day": "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY TODAY TOMORROW",
    "name": "MARY PETER ALICE ROBERT HELEN DAVID SUSAN GEORGE LAURA MARTIN",
    "colour": "RED BLUE GREEN YELLOW BLACK WHITE BROWN SILVER",
    "thing": "DOOR LAMP WINDOW RADIO TABLE BOTTLE CAMERA GARDEN",
    "goods": "APPLES LETTERS FLOWERS BOOKS TICKETS EGGS",
    "do": "OPEN CLOSE CLEAN MOVE PAINT FIND",
}
WORDS = {name: words.split() for name, words in LISTS.items()}
MAY_REPEAT = {"digit", "letter"}
RULES = {  # with their relative frequencies
    "{digit} {digit} {digit}": 2,
    "{digit} {digit} {digit} {digit}": 3,
    "{digit} {digit} {digit} {digit} {digit}": 2,
    "SPELL {letter} {letter}": 1,
    "SPELL {letter} {letter} {letter}": 1,
    "{day} {month} {ordinal}": 2,
    "{month} {ordinal} AT {hour}": 2,
    "CALL {name} AND {name} {day}": 2,
    "MEET {name} AT HALF PAST {hour}": 2,
    "{day} AT QUARTER TO {hour}": 1,
    "{name} {day} AT {hour}": 1,
    "{do} THE {colour} {thing}": 3,
    "{do} {number} {colour} {goods}": 1,
    "SEND {name} {number} {goods}": 2,
    "ORDER {number} {goods} {day}": 2,
}


def draw(count: int, seed: int) -> list[str]:
    """Return ``count`` distinct sentences in random order."""
    generator = random.Random(seed)
    rules, weights = list(RULES), list(RULES.values())
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        sentences[expand(generator.choices(rules, weights)[0], generator)] = None
    return list(sentences)


def expand(rule: str, generator: random.Random) -> str:
    """Return a sentence of a rule; only digits and letters may occur twice."""
    words: list[str] = []
    for word in rule.split():
        kind = word.strip("{}")
        if kind != word:
            word = generator.choice([entry for entry in WORDS[kind] if kind in MAY_REPEAT or entry not in words])
        words.append(word)
    return " ".join(words)


def vocabulary() -> set[str]:
    """Return all words of the grammar."""
    fixed = {word for rule in RULES for word in rule.split() if not word.startswith("{")}
    return fixed.union(*WORDS.values())

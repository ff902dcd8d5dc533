"""Failures that a word error rate does not show: empty hypotheses, loops, deletion bursts, refusals."""

import re
from collections import Counter
from collections.abc import Iterable

from speechllm.score.wer import ScoredUtterance

LOOP_REPEATS = 4
LOOP_PERIODS = range(1, 11)
BURST_WORDS = 8
REFUSALS = re.compile(
    r"\b(as an ai\b|as a (large )?language model\b|i( am|'m) (just |only )?an ai\b|"
    r"i( am|'m) (sorry|afraid),? (but )?i (cannot|can not|can't|am unable|am not able|do not|don't)\b|"
    r"i( am|'m) (unable|not able) to (transcribe|hear|listen|process|assist|help)\b|"
    r"i (cannot|can not|can't) (transcribe|hear|listen to|process|assist|help with)\b|"
    r"(please|could you) (provide|upload|share) (me )?(with )?(the|an|your) (audio|speech|recording|text)\b)",
    re.IGNORECASE,
)


def empty_hypotheses(utterances: Iterable[ScoredUtterance]) -> list[str]:
    """Return the ids of the utterances with an empty normalised hypothesis."""
    return [utterance.utt_id for utterance in utterances if not utterance.hyp]


def repetition_loops(utterances: Iterable[ScoredUtterance]) -> list[str]:
    """Return the ids of the utterances with a repetition loop in the hypothesis.

    Criterion: a sequence of 1 to 10 words occurs at least 4 times in direct succession in the hypothesis, and more
    often than any sequence does in the reference.
    """
    return [
        u.utt_id
        for u in utterances
        if u.hyp != u.ref
        and len(u.hyp) - len(set(u.hyp)) >= LOOP_REPEATS - 1
        and max(Counter(u.hyp).values()) >= LOOP_REPEATS
        and most_repeats(u.hyp) >= max(LOOP_REPEATS, most_repeats(u.ref) + 1)
    ]


def deletion_bursts(utterances: Iterable[ScoredUtterance]) -> list[str]:
    """Return the ids of the utterances with a deletion burst.

    Criterion: at least 8 successive words of the reference are deleted. Figure 3 of arXiv 2309.13963 separates such
    utterances and loops from successful ones, but does not state its criterion.
    """
    return [u.utt_id for u in utterances if "D" * BURST_WORDS in u.alignment]


def refusals(utterances: Iterable[ScoredUtterance]) -> list[str]:
    """Return the ids of the utterances with a refusal: the LLM answers instead of transcribing.

    Criterion: the hypothesis contains ``REFUSALS``, English phrases such as "as an AI" or "I'm sorry, but I can't",
    more often than the reference does. Phrases also match without apostrophes, which some normalisers remove.
    """
    different = (u for u in utterances if u.hyp != u.ref)
    return [u.utt_id for u in different if (found := _refusals_in(u.hyp)) and found > _refusals_in(u.ref)]


def most_repeats(words: list[str]) -> int:
    """Return the largest number of direct repetitions of any sequence of words."""
    most = min(1, len(words))
    for period in LOOP_PERIODS:
        run = 0  # successive words that equal the word one period before
        for earlier, word in zip(words, words[period:], strict=False):
            run = run + 1 if word == earlier else 0
            most = max(most, run // period + 1)
    return most


def _refusals_in(words: list[str]) -> int:
    return len(REFUSALS.findall(" ".join(words)))

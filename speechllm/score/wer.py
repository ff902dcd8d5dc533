"""Word and character error rates with confidence intervals."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from speechllm.errors import DataError
from speechllm.score.align import align_all
from speechllm.score.nist.network import align_network, parse_network, tokenize
from speechllm.score.normalize import Normalizer
from speechllm.score.transcripts import Transcripts, line_of, name_some, speaker_of, trn_id

Unit = Literal["word", "character"]

MARKUP = re.compile(r"[{}]|(?<!\S)@(?!\S)")

BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts as in sclite; words are words, or characters, of the references."""

    sentences: int
    correct: int
    substitutions: int
    deletions: int
    insertions: int
    wrong_sentences: int
    """Number of utterances with at least one error."""

    @property
    def words(self) -> int:
        """Number of words of the references."""
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Number of substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def percentages(self) -> tuple[float, float, float, float, float, float]:
        """Corr, Sub, Del, Ins and Err in percent of the words, S.Err in percent of the utterances; 0 if none."""
        parts = (self.correct, self.substitutions, self.deletions, self.insertions, self.errors)
        corr, sub, dele, ins, err = (part / self.words * 100 if self.words else 0.0 for part in parts)
        return corr, sub, dele, ins, err, self.wrong_sentences / self.sentences * 100 if self.sentences else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredUtterance:
    """A reference, a hypothesis and their alignment (a letter per column, see ``align``).

    The letter ``O`` is an omitted optional word of the reference: it counts as correct.
    """

    utt_id: str
    ref: list[str]
    hyp: list[str]
    alignment: str

    @property
    def speaker(self) -> str:
        """Speaker part of the utterance id."""
        return speaker_of(self.utt_id)

    @property
    def trn_id(self) -> str:
        """Id in .trn files and in result.txt."""
        return trn_id(self.utt_id)

    @property
    def notes(self) -> str:
        """Lines on its origin for result.txt; empty here."""
        return ""

    @property
    def errors(self) -> int:
        """Number of substitutions, deletions and insertions."""
        return sum(map(self.alignment.count, "SDI"))

    @property
    def is_correct(self) -> bool:
        """Whether all words are correct."""
        return self.hyp == self.ref and self.alignment.count("C") == len(self.ref)

    def columns(self) -> Iterator[tuple[str, str, str]]:
        """Yield letter, reference word and hypothesis word of each column; '' for a gap."""
        refs, hyps = iter(self.ref), iter(self.hyp)
        for letter in self.alignment:
            yield letter, "" if letter == "I" else next(refs), "" if letter in "DO" else next(hyps)


def score(
    ref: Transcripts, hyp: Transcripts, normalizer: Normalizer, unit: Unit = "word", *, alternatives: bool = False
) -> list[ScoredUtterance]:
    """Normalise and align each hypothesis with the reference of the same id, in the order of ``ref``.

    References that the normaliser empties are kept, as in sclite: all words of their hypotheses are insertions.

    Args:
        ref: references.
        hyp: hypotheses.
        normalizer: normaliser of both.
        unit: unit of the counts.
        alternatives: whether ``{ a / b }`` in a reference accepts either, as in sclite's .trn files.

    Raises:
        DataError: if the normaliser empties all references.
    """
    pairs = [_token_pair(text, hyp[utt_id], normalizer, unit) for utt_id, text in ref.items()]
    if not any(words for words, _ in pairs):
        hint = "expected words in at least one; choose a normalizer for this language"
        raise DataError(f"normalizer {normalizer}: leaves all references empty: {name_some(list(ref))}; {hint}")
    return [
        _with_alternatives(utt_id, normalizer(text), hyp_words)
        if alternatives and unit == "word" and MARKUP.search(text)
        else ScoredUtterance(utt_id=utt_id, ref=ref_words, hyp=hyp_words, alignment=alignment)
        for (utt_id, text), (ref_words, hyp_words), alignment in zip(ref.items(), pairs, align_all(pairs), strict=True)
    ]


def check_alternatives(ref: Transcripts, path: Path) -> None:
    """Raise DataError with file and line if braces of alternatives in a reference do not match."""
    for utt_id, text in ref.items():
        if MARKUP.search(text):
            try:
                parse_network(tokenize(text))
            except DataError as error:
                raise DataError(f"{path}:{line_of(path, utt_id)}: utterance {utt_id}: {error}") from error


def count(utterances: Iterable[ScoredUtterance]) -> Counts:
    """Return the total counts of ``utterances``."""
    alignments = [utterance.alignment for utterance in utterances]
    together = "".join(alignments)
    return Counts(
        sentences=len(alignments),
        correct=together.count("C") + together.count("O"),
        substitutions=together.count("S"),
        deletions=together.count("D"),
        insertions=together.count("I"),
        wrong_sentences=sum("S" in letters or "D" in letters or "I" in letters for letters in alignments),
    )


def by_speaker(utterances: Iterable[ScoredUtterance]) -> dict[str, list[ScoredUtterance]]:
    """Return the utterances of each speaker, in the order of their first utterances."""
    speakers: dict[str, list[ScoredUtterance]] = {}
    for utterance in utterances:
        speakers.setdefault(utterance.speaker, []).append(utterance)
    return speakers


def bootstrap_interval(utterances: Sequence[ScoredUtterance], seed: int = 0) -> tuple[float, float]:
    """Return the 95% confidence interval of the error rate (percent) by a percentile bootstrap over utterances.

    Utterances are drawn with replacement ``BOOTSTRAP_SAMPLES`` times (Bisani and Ney, "Bootstrap
    estimates for confidence intervals in ASR performance evaluation", ICASSP 2004). The interval covers the choice of
    the utterances, but not the correlation of utterances of the same speaker.
    """
    return bootstrap([u.errors for u in utterances], [len(u.ref) for u in utterances], seed)


def bootstrap(errors: Sequence[int], words: Sequence[int], seed: int) -> tuple[float, float]:
    """Return the 95% interval of the ratio of two sums (percent), with utterances drawn with replacement.

    Utterances with equal numbers of errors and words are interchangeable, so the number of draws of each such kind is
    sampled from a multinomial distribution, which is faster than drawing utterances.
    """
    kinds = Counter(zip(errors, words, strict=True))
    values = np.array(list(kinds), np.float64)
    shares = np.array(list(kinds.values()), np.float64) / len(errors)
    drawn = np.random.default_rng(seed).multinomial(len(errors), shares, size=BOOTSTRAP_SAMPLES)
    sums = drawn @ values
    sums = sums[sums[:, 1] > 0]
    low, high = np.percentile(sums[:, 0] / sums[:, 1] * 100, [2.5, 97.5])
    return float(low), float(high)


def _with_alternatives(utt_id: str, ref: str, hyp: list[str]) -> ScoredUtterance:
    try:
        columns = align_network(tokenize(ref), hyp, optional=False)
    except DataError as error:
        raise DataError(f"{utt_id}: {error}") from error
    return ScoredUtterance(
        utt_id=utt_id,
        ref=[column.ref for column in columns if column.ref],
        hyp=hyp,
        alignment="".join(column.letter for column in columns),
    )


def _token_pair(ref: str, hyp: str, normalizer: Normalizer, unit: Unit) -> tuple[list[str], list[str]]:
    """Return the tokens of both texts; equal texts share one list, and equal words one string."""
    tokens = _tokens(ref, normalizer, unit)
    return tokens, tokens if hyp == ref else _tokens(hyp, normalizer, unit)


def _tokens(text: str, normalizer: Normalizer, unit: Unit) -> list[str]:
    """Split into words, or into characters with ``<space>`` between words, as in ESPnet's scoring."""
    normalized = (
        text if normalizer.name == "none" and unit == "word" and not normalizer.splits_letters else normalizer(text)
    )
    if unit == "word":
        return [*map(sys.intern, normalized.split())]
    return ["<space>" if char == " " else char for char in normalized]

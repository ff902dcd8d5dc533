"""Error analysis: by duration, by position in the utterance, by speaker, and by confused words."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from speechllm.score.markdown import markdown_table
from speechllm.score.wer import Counts, ScoredUtterance, by_speaker, count

DURATIONS = (5, 10, 15, 20, 30, 60, 90, 120)
"""Upper bounds, included, of the buckets of by_duration (seconds)."""
SEGMENT = 30.0
"""Length of the windows of by_segments, that of Whisper (seconds)."""
PARTS = 10
MOST = 15
"""Number of listed confusions of each kind."""


def by_duration(utterances: Iterable[ScoredUtterance], durations: Mapping[str, float]) -> dict[str, Counts]:
    """Return the counts by duration, "0-5 s" and so on, without empty buckets."""

    def bucket(utterance: ScoredUtterance) -> int:
        return sum(durations[utterance.utt_id] > bound for bound in DURATIONS)

    bounds = [0, *DURATIONS]
    names = [f"{low}-{high} s" for low, high in zip(bounds, DURATIONS, strict=False)] + [f"over {DURATIONS[-1]} s"]
    return {names[k]: counts for k, counts in _grouped(utterances, bucket).items()}


def by_segments(utterances: Iterable[ScoredUtterance], durations: Mapping[str, float]) -> dict[str, Counts]:
    """Return the counts by number of 30 s windows of the utterance."""
    return {
        str(number): counts
        for number, counts in _grouped(utterances, lambda u: max(1, -int(-durations[u.utt_id] // SEGMENT))).items()
    }


def by_position(utterances: Iterable[ScoredUtterance]) -> list[tuple[int, int, int]]:
    """Return the numbers of words, deletions and substitutions in each tenth of the references.

    A Q-Former trained on padded windows has more deletions towards the end (arXiv 2309.13963, table 1).
    """
    words, deletions, substitutions = ([0] * PARTS for _ in range(3))
    correct: Counter[int] = Counter()  # utterances without an error, by their number of words
    for utterance in utterances:
        if utterance.is_correct:
            correct[len(utterance.ref)] += 1
            continue
        position = 0
        for letter in utterance.alignment:
            if letter == "I":
                continue
            part = (2 * position + 1) * PARTS // (2 * len(utterance.ref))  # part with the middle of the word
            words[part] += 1
            deletions[part] += letter == "D"
            substitutions[part] += letter == "S"
            position += 1
    for length, number in correct.items():
        for position in range(length):
            words[(2 * position + 1) * PARTS // (2 * length)] += number
    return list(zip(words, deletions, substitutions, strict=True))


def confusions(utterances: Iterable[ScoredUtterance]) -> Counter[tuple[str, str]]:
    """Count the pairs of reference and hypothesis words that differ; '' is a deletion or insertion."""
    return Counter(
        (ref, hyp)
        for utterance in utterances
        if not utterance.is_correct
        for letter, ref, hyp in utterance.columns()
        if letter in "SDI"
    )


def describe(utterances: Sequence[ScoredUtterance], durations: Mapping[str, float] | None) -> str:
    """Return all analyses as Markdown tables; those by duration only if durations are known."""
    parts = [("By speaker", "speaker", {name: count(spoken) for name, spoken in by_speaker(utterances).items()})]
    if durations is not None:
        parts.append(("By duration", "duration", by_duration(utterances, durations)))
        parts.append(("By windows of 30 s", "windows", by_segments(utterances, durations)))
    tables = [f"## {title}\n\n{_rates(first, groups)}" for title, first, groups in parts]
    return "\n".join((*tables, _positions(utterances), _confused(utterances)))


def _grouped(utterances: Iterable[ScoredUtterance], key: Callable[[ScoredUtterance], int]) -> dict[int, Counts]:
    groups: dict[int, list[ScoredUtterance]] = {}
    for utterance in utterances:
        groups.setdefault(key(utterance), []).append(utterance)
    return {k: count(groups[k]) for k in sorted(groups)}


def _rates(first: str, groups: Mapping[str, Counts]) -> str:
    rows: list[tuple[str, ...]] = [(first, "Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")]
    for name, counts in groups.items():
        shares = (f"{share:.1f}" for share in counts.percentages)
        rows.append((name, str(counts.sentences), str(counts.words), *shares))
    return markdown_table(rows)


def _positions(utterances: Iterable[ScoredUtterance]) -> str:
    rows: list[tuple[str, ...]] = [("tenth", "words", "deleted %", "substituted %")]
    for k, (words, *errors) in enumerate(by_position(utterances), 1):
        rows.append((str(k), str(words), *(f"{error / words * 100 if words else 0:.1f}" for error in errors)))
    return f"## By position in the reference\n\n{markdown_table(rows)}"


def _confused(utterances: Iterable[ScoredUtterance]) -> str:
    pairs = confusions(utterances).most_common()
    kinds = {
        "Substitutions": [(number, f"{ref} -> {hyp}") for (ref, hyp), number in pairs if ref and hyp],
        "Deletions": [(number, ref) for (ref, hyp), number in pairs if not hyp],
        "Insertions": [(number, hyp) for (ref, hyp), number in pairs if not ref],
    }
    parts = []
    for kind, found in kinds.items():
        rows = [("times", "words"), *((str(times), what) for times, what in found[:MOST])]
        parts.append(f"## {kind}, the most frequent\n\n{markdown_table(rows)}")
    return "\n".join(parts)

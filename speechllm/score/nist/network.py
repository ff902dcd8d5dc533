"""Alignment with references that accept several wordings, as in transcripts of telephone speech.

``{ gonna / going to / @ }`` accepts one of its alternatives (``@``: empty), ``(uh)`` is optional, and ``wor-`` and
``-ord`` are fragments, which match any word with this start or end. Costs are those of ``sclite -F -D`` (NIST SCTK),
determined by comparison: omitting an optional word costs 2 and counts as correct (letter ``O``). Ties are resolved in
favour of the earliest alternative, and within it as in ``align``, except that a substitution is preferred to an
insertion of an earlier alternative. Sums are in single precision, as in sclite, because the order of summation changes
the cost of an empty alternative. For fewer than one in a thousand random pairs over three to five words, sclite
resolves a tie differently, with other counts of the same cost.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from speechllm.errors import DataError
from speechllm.score.align import GAP_COST, SUBSTITUTION_COST, align

OPTIONAL_COST = 2
EMPTY = float(np.float32(1e-3))  # cost of an empty alternative: less than any difference of sums of the other costs
MAX_DEPTH = 50
MAX_CELLS = 5_000_000
MAX_SHOWN = 200
"""Maximum number of characters of a text in a message."""
MARKS = frozenset("{}@")
SPACED = str.maketrans({mark: f" {mark} " for mark in "{}"})


Place = tuple[int, int]
"""Node of the reference network and node of the hypothesis network."""


class Arc(NamedTuple):
    """Word between two nodes of a network; None: empty."""

    start: int
    end: int
    word: str | None


@dataclass(frozen=True)
class Network:
    """Network of all wordings of a transcript: paths from node 0 to the last node; arcs lead to higher nodes."""

    arcs: tuple[Arc, ...]
    last: int


class Column(NamedTuple):
    """Letter, reference word and hypothesis word; '' for a gap."""

    letter: str
    ref: str
    hyp: str


Step = tuple[float, Place, Column | None]
"""Cost of a last step, its start, and its column, if it has one."""


def align_network(ref: Sequence[str], hyp: Sequence[str], *, optional: bool = True) -> list[Column]:
    """Align a hypothesis with the best matching wording of the reference.

    Args:
        ref: words, and marks of alternatives as separate words (see ``tokenize``).
        hyp: words, also with marks of alternatives.
        optional: whether to interpret optional words and fragments; otherwise only alternatives are interpreted.

    Raises:
        DataError: if braces do not match.
    """
    marks = any(word in MARKS or (optional and _may_match_otherwise(word)) for side in (ref, hyp) for word in side)
    return _trace_back(parse_network(ref), parse_network(hyp), optional) if marks else _plain(ref, hyp)


def tokenize(text: str) -> list[str]:
    """Split a text into words and marks of alternatives, which need no spaces: ``{gonna/going to}``."""
    return re.sub(r"{[^{}]*}", lambda match: match[0].replace("/", " / "), text).translate(SPACED).split()


def parse_network(tokens: Sequence[str]) -> Network:
    """Parse ``{ a / b c }`` and words, in any nesting.

    Raises:
        DataError: if braces do not match.
    """
    arcs: list[Arc] = []
    place, node = _parse(tokens, 0, 0, arcs, itertools.count(1), depth=0)
    if place != len(tokens):
        raise DataError(f"{_shown(tokens)}: found a brace or slash without an opening brace, expected {{ a / b }}")
    return Network(tuple(arcs), node)


def _parse(
    tokens: Sequence[str], place: int, node: int, arcs: list[Arc], nodes: Iterator[int], depth: int
) -> tuple[int, int]:
    """Parse a sequence up to the last token or the end of an alternative; return the end and the last node."""
    if depth > MAX_DEPTH:
        raise DataError(
            f"{_shown(tokens)}: found alternatives nested more than {MAX_DEPTH} deep, expected fewer levels"
        )
    while place < len(tokens) and tokens[place] != "}" and not (depth and tokens[place] == "/"):
        if tokens[place] == "{":
            place, node = _parse_alternatives(tokens, place, node, arcs, nodes, depth + 1)
        else:
            following = next(nodes)
            arcs.append(Arc(node, following, None if tokens[place] == "@" else tokens[place]))
            place, node = place + 1, following
    return place, node


def _parse_alternatives(
    tokens: Sequence[str], place: int, node: int, arcs: list[Arc], nodes: Iterator[int], depth: int
) -> tuple[int, int]:
    ends, group = set(), len(arcs)
    while place < len(tokens) and tokens[place] != "}":
        first = len(arcs)
        place, end = _parse(tokens, place + 1, node, arcs, nodes, depth)
        if len(arcs) == first:  # an empty alternative
            end = next(nodes)
            arcs.append(Arc(node, end, None))
        ends.add(end)
    if place == len(tokens):
        raise DataError(f"{_shown(tokens)}: found a brace that is not closed, expected {{ a / b }}")
    join = next(nodes)
    arcs[group:] = [arc._replace(end=join) if arc.end in ends else arc for arc in arcs[group:]]
    return place + 1, join


def _shown(tokens: Sequence[str]) -> str:
    text = " ".join(tokens)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."


def _trace_back(ref: Network, hyp: Network, optional: bool) -> list[Column]:
    """Find the cheapest pair of paths; for each place, store only the index of its best step in ``_steps``."""
    if (cells := len(ref.arcs) * len(hyp.arcs)) > MAX_CELLS:
        raise DataError(
            f"found {len(ref.arcs)} words and alternatives to align with {len(hyp.arcs)} (product {cells}), "
            f"expected a product of at most {MAX_CELLS}; divide the segment"
        )
    into_ref, into_hyp = _by_end(ref), _by_end(hyp)
    hyp_nodes = sorted({0, *into_hyp})
    has_empty = any(arc.word is None for network in (ref, hyp) for arc in network.arcs)
    costs: dict[int, dict[int, float]] = {}
    chosen: dict[int, dict[int, int]] = {}
    for i in sorted({0, *into_ref}):
        arcs = [_ReferenceArc(arc, costs[arc.start], optional) for arc in into_ref[i]]
        costs[i], chosen[i] = _best_steps(arcs, into_hyp, hyp_nodes, has_empty)
    columns, place = [], (ref.last, hyp.last)
    while place != (0, 0):
        i, j = place
        _, place, column = _steps(into_ref[i], into_hyp[j], place, optional)[chosen[i][j]]
        if column is not None:
            columns.append(column)
    return columns[::-1]


class _ReferenceArc:
    """Arc of the reference with the costs at its start and the cost of each word aligned with it."""

    def __init__(self, arc: Arc, before: dict[int, float], optional: bool) -> None:
        self.word, self.before, self._optional = arc.word, before, optional
        skippable = arc.word is not None and optional and is_optional(arc.word)
        self.skip_cost = EMPTY if arc.word is None else OPTIONAL_COST if skippable else GAP_COST
        self._costs: dict[str, int] = {}

    def cost_of(self, hyp: str) -> int:
        """Return the cost of aligning a word of the hypothesis with this arc."""
        assert self.word is not None
        if (cost := self._costs.get(hyp)) is None:
            right = matches(self.word, hyp) if self._optional else self.word == hyp
            cost = self._costs[hyp] = 0 if right else SUBSTITUTION_COST
        return cost


def _best_steps(
    arcs: Sequence[_ReferenceArc], into_hyp: Mapping[int, list[Arc]], hyp_nodes: Sequence[int], has_empty: bool
) -> tuple[dict[int, float], dict[int, int]]:
    """Return cost and index of the best step to every node of the hypothesis, for one node of the reference.

    The steps are in the order of ``_steps``. Without empty alternatives, costs are integers, exact in single precision.
    """
    row: dict[int, float] = {}
    numbers: dict[int, int] = {}
    for j in hyp_nodes:
        hyps = into_hyp[j]
        totals = [row[hyp.start] + (EMPTY if hyp.word is None else GAP_COST) for hyp in hyps]
        letters = ["" if hyp.word is None else "I" for hyp in hyps]
        if arcs:
            insertions, insertion_letters, totals, letters = totals, letters, [], []
            for arc in arcs:
                if arc.word is not None:
                    for hyp in hyps:
                        if hyp.word is not None:
                            cost = arc.cost_of(hyp.word)
                            totals.append(arc.before[hyp.start] + cost)
                            letters.append("S" if cost else "C")
                    totals += insertions
                    letters += insertion_letters
                totals.append(arc.before[j] + arc.skip_cost)
                letters.append("D")
        if not totals:  # the start of both
            row[j] = 0.0
            continue
        if has_empty:
            totals = [float(np.float32(total)) for total in totals]
        row[j] = least = min(totals)
        number = totals.index(least)
        if letters[number] == "I" and len(arcs) > 1:  # a substitution is preferred to an insertion of equal cost
            equal = (k for k in range(number, len(totals)) if totals[k] == least and letters[k] == "S")
            number = next(equal, number)
        numbers[j] = number
    return row, numbers


def _by_end(network: Network) -> defaultdict[int, list[Arc]]:
    found: defaultdict[int, list[Arc]] = defaultdict(list)
    for arc in network.arcs:
        found[arc.end].append(arc)
    return found


def _steps(refs: Sequence[Arc], hyps: Sequence[Arc], place: Place, optional: bool) -> list[Step]:
    """Return all possible last steps of a path to a place."""
    i, j = place
    insertions: list[Step] = [
        (EMPTY, (i, hyp.start), None) if hyp.word is None else (GAP_COST, (i, hyp.start), Column("I", "", hyp.word))
        for hyp in hyps
    ]
    if not refs:
        return insertions
    steps: list[Step] = []
    for ref in refs:
        if ref.word is None:
            steps.append((EMPTY, (ref.start, j), None))
            continue
        for hyp in hyps:
            if hyp.word is not None:
                right = matches(ref.word, hyp.word) if optional else ref.word == hyp.word
                letter, cost = ("C", 0) if right else ("S", SUBSTITUTION_COST)
                steps.append((cost, (ref.start, hyp.start), Column(letter, ref.word, hyp.word)))
        steps += insertions
        letter, cost = ("O", OPTIONAL_COST) if optional and is_optional(ref.word) else ("D", GAP_COST)
        steps.append((cost, (ref.start, j), Column(letter, ref.word, "")))
    return steps


def is_optional(word: str) -> bool:
    """Return whether a word of a reference is optional: ``(uh)``."""
    return len(word) > 2 and word[0] == "(" and word[-1] == ")"


def matches(ref: str, hyp: str) -> bool:
    """Return whether the words are equal, or one is a fragment of the other."""
    optional = is_optional(ref)
    said = ref[1:-1] if optional else ref
    if said == hyp:
        return True
    whole = _completes(said, hyp)
    if whole is None:
        return bool(_completes(hyp, said))
    return whole and not (optional and said[0] == "-")  # as in sclite


def _completes(fragment: str, word: str) -> bool | None:
    """Return whether a word begins or ends with a fragment; None if ``fragment`` is not one."""
    if len(fragment) > 1 and fragment[-1] == "-":
        return word.startswith(fragment[:-1])
    if len(fragment) > 1 and fragment[0] == "-":
        return word.endswith(fragment[1:])
    return None


def _may_match_otherwise(word: str) -> bool:
    return len(word) > 1 and (word[0] in "(-" or word[-1] == "-")


def _plain(ref: Sequence[str], hyp: Sequence[str]) -> list[Column]:
    refs, hyps = iter(ref), iter(hyp)
    return [
        Column(letter, "" if letter == "I" else next(refs), "" if letter == "D" else next(hyps))
        for letter in align(ref, hyp)
    ]

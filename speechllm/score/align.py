"""Alignment of hypotheses with references, equal to sclite's.

A substitution costs 4, an insertion or deletion 3. Among alignments of equal cost, sclite traces back from the end and
prefers the diagonal, then an insertion, then a deletion (NIST SCTK, ``sclite``, dynamic programming over word
networks). Unlike the edit distance, these costs prefer a match between two gaps to two substitutions: ``a b`` against
``b c`` is a deletion, a correct word and an insertion.

An alignment is a string with one letter per column: ``C`` correct, ``S`` substitution, ``D`` deletion (a word of the
reference without a partner), ``I`` insertion.
"""

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

Pair = tuple[Sequence[str], Sequence[str]]
"""Words of a reference and of its hypothesis."""

SUBSTITUTION_COST = 4
GAP_COST = 3
MAX_CELLS = 1 << 19
"""Maximum number of cost matrix cells per batch, unless a single pair needs more."""

# A move consumes a word of the reference (bit 0), of the hypothesis (bit 1) or of both; bit 2: the words are equal.
_STOP, _DELETE, _INSERT, _SUBSTITUTE, _MATCH = 0, 1, 2, 3, 7
_LETTERS = np.zeros(8, np.uint8)
_LETTERS[[_DELETE, _INSERT, _SUBSTITUTE, _MATCH]] = np.frombuffer(b"DISC", np.uint8)


def align(ref: Sequence[str], hyp: Sequence[str]) -> str:
    """Return the alignment of one pair, e.g. ``CCSCI``."""
    return align_all([(ref, hyp)])[0]


def align_all(pairs: Sequence[Pair]) -> list[str]:
    """Return the alignment of each pair; aligning many pairs at once is faster than one by one.

    Equal words at both ends are excluded from the cost matrices. This does not change the result at the end, because an
    optimal path aligns equal last words with each other and the diagonal is preferred. Equal first words do not change
    the costs after them; only leading gaps may have to move, see ``_with_prefix``.
    """
    found = [""] * len(pairs)
    prefixes: dict[int, int] = {}
    suffixes: dict[int, int] = {}
    for k, (ref, hyp) in enumerate(pairs):
        if ref == hyp:
            found[k] = _correct(len(ref))
            continue
        prefix, suffix = _common_ends(ref, hyp)
        num_ref, num_hyp = len(ref) - prefix - suffix, len(hyp) - prefix - suffix
        if num_ref and num_hyp and (num_ref > 1 or num_hyp > 1):
            prefixes[k], suffixes[k] = prefix, suffix
        else:  # gaps only, or one substitution
            middle = "S" if num_ref and num_hyp else "D" * num_ref + "I" * num_hyp
            found[k] = _with_prefix(middle, ref, hyp, prefix) + _correct(suffix)
    ids: defaultdict[str, int] = defaultdict()
    ids.default_factory = ids.__len__
    numbered = [_numbered(pairs[k], prefixes[k], suffixes[k], ids) for k in prefixes]
    places = list(prefixes)
    for batch in _batches([len(ref) for ref, _ in numbered], [len(hyp) for _, hyp in numbered]):
        aligned = _align_batch([numbered[n][0] for n in batch], [numbered[n][1] for n in batch])
        for n, middle in zip(batch, aligned, strict=True):
            k = places[n]
            found[k] = _with_prefix(middle, *pairs[k], prefixes[k]) + _correct(suffixes[k])
    return found


def _common_ends(ref: Sequence[str], hyp: Sequence[str]) -> tuple[int, int]:
    """Return the numbers of equal words at the start and at the end; words in both count at the end."""
    num_ref, num_hyp = len(ref), len(hyp)
    most = min(num_ref, num_hyp)
    suffix = 0
    while suffix < most and ref[num_ref - 1 - suffix] == hyp[num_hyp - 1 - suffix]:
        suffix += 1
    prefix, most = 0, most - suffix
    while prefix < most and ref[prefix] == hyp[prefix]:
        prefix += 1
    return prefix, suffix


def _numbered(pair: Pair, prefix: int, suffix: int, ids: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    ref, hyp = (words[prefix : len(words) - suffix] for words in pair)
    return np.array([ids[word] for word in ref], np.int32), np.array([ids[word] for word in hyp], np.int32)


def _with_prefix(middle: str, ref: Sequence[str], hyp: Sequence[str], prefix: int) -> str:
    """Return the alignment of ``prefix`` equal words and the words after them, with the alignment ``middle``.

    The leading gaps of ``middle`` can be anywhere in the prefix at the same cost. Because the trace from the end
    prefers the diagonal, the last words of the prefix are aligned with equal words after it.
    """
    gap = middle[:1]
    if prefix == 0 or gap not in ("I", "D"):
        return _correct(prefix) + middle
    rest = middle.lstrip(gap)
    longer, gaps, place = (hyp if gap == "I" else ref), len(middle) - len(rest), prefix
    letters = []
    while gaps and place:
        if longer[place + gaps - 1] == ref[place - 1]:
            letters.append("C")
            place -= 1
        else:
            letters.append(gap)
            gaps -= 1
    return gap * gaps + _correct(place) + "".join(reversed(letters)) + rest


@functools.cache
def _correct(length: int) -> str:
    """Return the alignment of ``length`` equal words; the string is shared by utterances."""
    return "C" * length


def _batches(ref_lens: list[int], hyp_lens: list[int]) -> Iterator[list[int]]:
    """Yield batches of indices of pairs with similar lengths, to reduce padding."""
    batch: list[int] = []
    rows = columns = 0
    for k in sorted(range(len(ref_lens)), key=lambda k: (ref_lens[k], hyp_lens[k])):
        rows, columns = max(rows, ref_lens[k] + 1), max(columns, hyp_lens[k] + 1)
        if batch and (len(batch) + 1) * rows * columns > MAX_CELLS:
            yield batch
            batch, rows, columns = [], ref_lens[k] + 1, hyp_lens[k] + 1
        batch.append(k)
    if batch:
        yield batch


def _align_batch(refs: list[np.ndarray], hyps: list[np.ndarray]) -> list[str]:
    """Align pairs of word ids; padding is after the end of a pair and is never reached."""
    ref_lens, hyp_lens = (np.array([len(words) for words in side]) for side in (refs, hyps))
    moves = _best_moves(_pad(refs), _pad(hyps))
    pair, i, j = np.arange(len(refs)), ref_lens.copy(), hyp_lens.copy()
    path = np.zeros((int((ref_lens + hyp_lens).max()), len(refs)), np.uint8)
    for step in range(len(path)):
        move = moves[i, pair, j]
        if not move.any():
            break
        path[step] = _LETTERS[move]
        i -= move & 1
        j -= move >> 1 & 1
    forward = np.ascontiguousarray(path[::-1].T)
    return [letters.tobytes().lstrip(b"\0").decode("ascii") for letters in forward]


def _pad(rows: list[np.ndarray]) -> np.ndarray:
    padded = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for row, words in zip(padded, rows, strict=True):
        row[: len(words)] = words
    return padded


def _best_moves(refs_BR: np.ndarray, hyps_BH: np.ndarray) -> np.ndarray:
    """Return the last move of the best path to every cell, (R + 1, B, H + 1), computed row by row for all pairs.

    Within a row, a chain of insertions from column k to j adds GAP_COST * (j - k). After subtracting
    GAP_COST * column, the minimum over all k is a running minimum.
    """
    (num_pairs, num_rows), num_columns = refs_BR.shape, hyps_BH.shape[1]
    moves = np.empty((num_rows + 1, num_pairs, num_columns + 1), np.uint8)
    moves[0], moves[0, :, 0], moves[1:, :, 0] = _INSERT, _STOP, _DELETE
    chain = GAP_COST * np.arange(num_columns + 1, dtype=np.int32)
    cost = np.broadcast_to(chain, (num_pairs, num_columns + 1))
    for row in range(num_rows):
        differs = refs_BR[:, row, None] != hyps_BH
        diagonal = cost[:, :-1] + np.int32(SUBSTITUTION_COST) * differs
        cost = cost + np.int32(GAP_COST)
        np.minimum(cost[:, 1:], diagonal, out=cost[:, 1:])
        cost = np.minimum.accumulate(cost - chain, axis=1) + chain
        gap = np.where(cost[:, :-1] + GAP_COST == cost[:, 1:], np.uint8(_INSERT), np.uint8(_DELETE))
        both = np.where(differs, np.uint8(_SUBSTITUTE), np.uint8(_MATCH))
        moves[row + 1, :, 1:] = np.where(diagonal == cost[:, 1:], both, gap)
    return moves

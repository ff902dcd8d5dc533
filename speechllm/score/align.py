"""Align hypotheses with references as sclite does.

A substitution costs 4, an insertion and a deletion 3 each. Among alignments of equal cost sclite
takes the one that is found by going back from the end and preferring the diagonal, then an
insertion, then a deletion (NIST SCTK, ``sclite``, dynamic programming over word networks). Unlike
the edit distance, these costs choose a match between two gaps rather than two substitutions:
``a b`` against ``b c`` is a deletion, a correct word and an insertion.

An alignment is a string with one letter per column: ``C`` correct, ``S`` substitution,
``D`` deletion (the reference's word has no partner), ``I`` insertion.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

Pair = tuple[Sequence[str], Sequence[str]]
"""The words of a reference and of its hypothesis."""

SUBSTITUTION_COST = 4
GAP_COST = 3
MAX_CELLS = 1 << 19
"""Cells of the cost matrices that are filled at a time, unless a single pair needs more."""

# A move consumes a word of the reference (bit 0), of the hypothesis (bit 1) or of both; bit 2: the two are equal.
_STOP, _DELETE, _INSERT, _SUBSTITUTE, _MATCH = 0, 1, 2, 3, 7
_LETTERS = np.zeros(8, np.uint8)
_LETTERS[[_DELETE, _INSERT, _SUBSTITUTE, _MATCH]] = np.frombuffer(b"DISC", np.uint8)


def align(ref: Sequence[str], hyp: Sequence[str]) -> str:
    """Return the alignment of one pair, e.g. ``CCSCI``."""
    return align_all([(ref, hyp)])[0]


def align_all(pairs: Sequence[Pair]) -> list[str]:
    """Return the alignment of each pair; many pairs at once take less time than one after another."""
    ids: defaultdict[str, int] = defaultdict()
    ids.default_factory = ids.__len__
    refs = [np.fromiter(map(ids.__getitem__, ref), np.int32, len(ref)) for ref, _ in pairs]
    hyps = [np.fromiter(map(ids.__getitem__, hyp), np.int32, len(hyp)) for _, hyp in pairs]
    found = [""] * len(pairs)
    for batch in _batches([len(ref) for ref in refs], [len(hyp) for hyp in hyps]):
        aligned = _align_batch([refs[k] for k in batch], [hyps[k] for k in batch])
        for k, letters in zip(batch, aligned, strict=True):
            found[k] = letters
    return found


def _batches(ref_lens: list[int], hyp_lens: list[int]) -> Iterator[list[int]]:
    """Yield the indices of pairs of similar lengths, so that little of a batch is padding."""
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
    """Align pairs of word ids; what is padding lies behind a pair's own end and is never reached."""
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
    """Return the last move of the best path to every cell, (R + 1, B, H + 1), one row of all pairs at a time.

    Within a row, a chain of insertions from column k to j adds GAP_COST * (j - k), so that the minimum
    over all k is a running minimum once GAP_COST * column is taken off.
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

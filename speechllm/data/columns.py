"""Columns of a list of utterances, without a Python object per value: lists of millions fit in every process.

Forked worker processes share the pages of the arrays, since reading them writes no reference counts.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

import numpy as np

_Value = TypeVar("_Value")


class Strings(Sequence[str]):
    """Immutable sequence of strings in one buffer: their UTF-8 bytes, and 4 bytes each (8 from 4 GiB on).

    Args:
        content: bytes of all strings, concatenated.
        ends_N: end of each string in ``content``.
        rows_M: indices of the strings in the sequence, 4 bytes each; None: all.
    """

    def __init__(self, content: bytes | bytearray, ends_N: np.ndarray, rows_M: np.ndarray | None = None) -> None:
        self._content, self._ends_N, self._rows_M = content, ends_N, rows_M

    def __len__(self) -> int:
        return len(self._ends_N if self._rows_M is None else self._rows_M)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = index % len(self) if self._rows_M is None else int(self._rows_M[index])
        start = int(self._ends_N[row - 1]) if row else 0
        return self._content[start : int(self._ends_N[row])].decode()

    def __eq__(self, other: object) -> bool:
        """Whether the strings equal those of another sequence."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def place(self, string: str) -> int:
        """Return the index of a string; the sequence must be sorted.

        Raises:
            KeyError: if the string is not in the sequence.
        """
        index = bisect.bisect_left(self, string)
        if index == len(self) or self[index] != string:
            raise KeyError(string)
        return index

    def sizes(self) -> np.ndarray:
        """Return the number of bytes of each string (uint32)."""
        sizes_N = np.diff(self._ends_N, prepend=self._ends_N.dtype.type(0)).astype(np.uint32)
        return sizes_N if self._rows_M is None else sizes_N[self._rows_M]

    def take(self, rows_M: np.ndarray) -> Strings:
        """Return the strings with the given indices; the buffer is shared."""
        if len(rows_M) == len(self) and (np.diff(rows_M) == 1).all():
            return self
        return Strings(self._content, self._ends_N, (rows_M if self._rows_M is None else self._rows_M[rows_M]))


class StringWriter:
    """Growing buffer of strings."""

    def __init__(self, strings: Iterable[str] = ()) -> None:
        self._content, self._ends = bytearray(), array("Q")
        for one in strings:
            self.append(one)

    def append(self, string: str) -> None:
        """Add a string at the end."""
        self._content += string.encode()
        self._ends.append(len(self._content))

    def finish(self) -> Strings:
        """Return the strings."""
        small = len(self._content) < 1 << 32
        return Strings(self._content, np.frombuffer(self._ends, np.uint64).astype(np.uint32 if small else np.uint64))


class _ById(Mapping[str, _Value]):
    """Mapping from utterance ids to values."""

    def __init__(self, ids: Strings) -> None:
        self.ids = ids
        """Utterance ids, sorted."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)


class Numbers(_ById[Any]):
    """Mapping from utterance ids to numbers."""

    def __init__(self, ids: Strings, values_N: np.ndarray) -> None:
        super().__init__(ids)
        self.values_N = values_N

    def __getitem__(self, utt_id: str) -> Any:
        return self.values_N[self.ids.place(utt_id)].item()

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Numbers:
        """Return the values of a mapping, sorted by utterance id."""
        if isinstance(values, Numbers):
            return values
        ids = sorted(values)
        return cls(StringWriter(ids).finish(), np.array([values[one] for one in ids], np.float64))

    def of_ids(self, ids: Strings) -> np.ndarray:
        """Return the values of the given utterances, in the given order."""
        return self.values_N if ids is self.ids else np.array([self[one] for one in ids])


class Texts(_ById[str]):
    """Mapping from utterance ids to texts.

    Args:
        ids: utterance ids, sorted.
        texts: in the order of the ids.
        form: function applied to a text when it is read.
    """

    def __init__(self, ids: Strings, texts: Strings, form: Callable[[str], str]) -> None:
        super().__init__(ids)
        self._texts, self._form = texts, form

    def __getitem__(self, utt_id: str) -> str:
        return self.at(self.ids.place(utt_id))

    def at(self, row: int) -> str:
        """Return the text of the utterance in row ``row``."""
        return self._form(self._texts[row])

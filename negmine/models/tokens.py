"""Token ids of many texts in two flat arrays, so that batches are cut without Python lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ragged:
    """Rows of different length: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``."""

    values: npt.NDArray[np.int32]
    offsets: Ints

    @classmethod
    def of(cls, rows: Sequence[npt.NDArray[np.int32]]) -> Ragged:
        """Rows that are arrays already."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        values = np.concatenate(rows) if rows else np.empty(0, dtype=np.int32)
        return cls(values, _offsets(lengths))

    @property
    def lengths(self) -> Ints:
        """Items per row."""
        return np.diff(self.offsets)

    def row(self, number: int) -> npt.NDArray[np.int32]:
        """One of the rows: a view."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]

    def take(self, rows: Ints) -> Ragged:
        """The rows of these numbers."""
        lengths = self.lengths[rows]
        offsets = _offsets(lengths)
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.values[source], offsets)

    def pad(self, rows: Ints, fill: int = 0, left: bool = False) -> Ints:
        """The chosen rows as one rectangle, filled up on the right (or the left)."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        width = int(lengths.max(initial=0))
        grid = np.full((len(rows), width), fill, dtype=np.int64)
        before_row = np.cumsum(lengths) - lengths
        source = np.repeat(starts - before_row, lengths) + np.arange(int(lengths.sum()))
        grid[attention_mask(lengths, left=left).astype(bool)] = self.values[source]
        return grid


def from_lists(rows: Sequence[Sequence[int]]) -> Ragged:
    """The rows as one :class:`Ragged`."""
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    offsets = _offsets(lengths)
    values = np.fromiter(chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1]))
    return Ragged(values, offsets)


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The rows of all parts, in order."""
    if not parts:
        return from_lists([])
    lengths = np.concatenate([part.lengths for part in parts])
    return Ragged(np.concatenate([part.values for part in parts]), _offsets(lengths))


def _offsets(lengths: Ints) -> Ints:
    """Where each row begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])


def attention_mask(lengths: Ints, left: bool = False) -> Ints:
    """1 where a row of that length has a token in the padded rectangle."""
    width = int(lengths.max(initial=0))
    columns = np.arange(width)
    if left:
        return (columns >= width - lengths[:, None]).astype(np.int64)
    return (columns < lengths[:, None]).astype(np.int64)


# Texts tokenised at a time: bounds the Python lists that a tokenizer returns.
TOKENIZE_CHUNK = 2048


def chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Lists of at most :data:`TOKENIZE_CHUNK` texts."""
    for start in range(0, len(texts), TOKENIZE_CHUNK):
        yield list(texts[start : start + TOKENIZE_CHUNK])

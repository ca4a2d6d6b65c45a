"""Weights of terms as whole numbers, a row per text: what a learned sparse encoder gives.

A weight is stored as its hundredfold, rounded: rankings stay what they are, and every sum of
products is exact, in any order and whoever computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from negmine.models.tokens import Ints

#: Whole numbers to a weight of 1.
SCALE = 100

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Impacts:
    """Rows of terms and their impacts; row ``i`` is the slice from ``starts[i]``.

    Attributes:
        starts: int64 [rows + 1].
        terms: ids of terms, ascending within a row, int32 [n].
        values: their impacts, none of which is 0, int32 [n].
    """

    starts: Ints
    terms: Numbers
    values: Numbers

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.starts) - 1

    def take(self, rows: Ints) -> Impacts:
        """Some rows, in the order asked for."""
        counts = np.diff(self.starts)[rows]
        starts = _starts(counts)
        places = np.repeat(self.starts[rows] - starts[:-1], counts) + np.arange(starts[-1])
        return Impacts(starts, self.terms[places], self.values[places])

    def between(self, first: int, last: int) -> Impacts:
        """The rows from ``first`` to below ``last``."""
        starts = self.starts[first : last + 1]
        inside = slice(int(starts[0]), int(starts[-1]))
        return Impacts(starts - starts[0], self.terms[inside], self.values[inside])


def joined(parts: Sequence[Impacts]) -> Impacts:
    """The rows of all parts, in order."""
    counts = [np.diff(part.starts) for part in parts]
    nothing = np.empty(0, dtype=np.int32)
    return Impacts(
        _starts(np.concatenate([np.empty(0, dtype=np.int64), *counts])),
        np.concatenate([nothing, *(part.terms for part in parts)]),
        np.concatenate([nothing, *(part.values for part in parts)]),
    )


def _starts(counts: npt.NDArray[np.integer]) -> Ints:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)])


class Rows:
    """Rows that are made in any order, some at a time.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        nothing = np.empty(0, dtype=np.int32)
        self._rows: list[tuple[Numbers, Numbers]] = [(nothing, nothing)] * count

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def put(self, rows: Ints, made: Impacts) -> None:
        """Fill in the rows of these numbers."""
        for row, (first, last) in zip(rows.tolist(), pairwise(made.starts.tolist()), strict=True):
            # Copied: a slice would hold its whole batch.
            self._rows[row] = made.terms[first:last].copy(), made.values[first:last].copy()

    def dump(self, rows: Ints) -> bytes:
        """The rows of these numbers, for :meth:`load`."""
        chosen = [self._rows[row] for row in rows.tolist()]
        counts = np.fromiter((len(terms) for terms, _ in chosen), np.int32, len(chosen))
        terms, values = ([pair[side] for pair in chosen] for side in (0, 1))
        return b"".join(each.tobytes() for each in (counts, *terms, *values))

    def load(self, rows: Ints, data: bytes) -> None:
        """Fill in the rows of these numbers with what :meth:`dump` gave."""
        numbers = np.frombuffer(data, np.int32)
        counts, numbers = numbers[: len(rows)], numbers[len(rows) :]
        half = len(numbers) // 2
        self.put(rows, Impacts(_starts(counts), numbers[:half], numbers[half:]))

    def all(self) -> Impacts:
        """All rows."""
        nothing = np.empty(0, dtype=np.int32)
        counts = np.fromiter((len(terms) for terms, _ in self._rows), np.int64, len(self._rows))
        terms, values = (
            np.concatenate([nothing, *(pair[side] for pair in self._rows)]) for side in (0, 1)
        )
        return Impacts(_starts(counts), terms, values)

"""How like the known positives of its query a candidate is, so that no label shows in it.

Two documents that answer one query are often like each other, so likeness to the known positives
tells of unknown ones. Told naively it tells of labels instead: a positive is compared with one
document fewer than the others are (itself), so a mean is taken over fewer, a maximum is lower, and
with a single positive nothing is left to compare it with. A model finds such differences at once,
and "predicts" labels that were put there at random.

So every row is compared with m - 1 of its query's m positives: a positive with the others, any
other row with all but one, drawn by a hash. Were a row's label hidden and another's revealed in
its stead, its comparison would come from the same distribution. Queries with fewer than two
positives have none, for none of their rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.table.ranking import group_starts


@dataclass(frozen=True)
class Pairs:
    """Which rows are compared.

    Attributes:
        left: rows, ascending, each as often as it is compared.
        right: the positive that each is compared with.
        rows: how many rows there are.
    """

    left: np.ndarray
    right: np.ndarray
    rows: int

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean over each row's comparisons, float64 [rows]; NaN where it has none."""
        count = np.bincount(self.left, minlength=self.rows)
        total = np.bincount(self.left, values, minlength=self.rows)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def greatest(self, values: np.ndarray) -> np.ndarray:
        """Greatest of each row's comparisons, float64 [rows]; NaN where it has none."""
        found = np.full(self.rows, np.nan)
        if len(self.left):
            starts = group_starts(self.left)
            found[self.left[starts]] = np.maximum.reduceat(values, starts)
        return found


def pairs(query: np.ndarray, positive: np.ndarray, draw: np.ndarray) -> Pairs:
    """Each row beside m - 1 of its query's m positives.

    Args:
        query: query number of each row, ascending.
        positive: known positives.
        draw: a uniform number in [0, 1) per row, which says whom it is not compared with.
    """
    known = np.flatnonzero(positive)
    first = np.searchsorted(query[known], query, side="left")
    count = np.searchsorted(query[known], query, side="right") - first
    left = np.repeat(np.arange(len(query)), count)
    nth = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    right = known[np.repeat(first, count) + nth]
    left_out = np.where(positive, -1, np.floor(draw * count).astype(np.int64))
    kept = (right != left) & (nth != left_out[left])
    return Pairs(left[kept], right[kept], len(query))

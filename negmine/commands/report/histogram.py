"""Counts over equal cells: distributions of any number of rows in a fixed amount of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Cells between the smallest and the greatest value: a quantile is known to 1/4096 of the range.
CELLS = 4096


class Histogram:
    """Counts of values between ``low`` and ``high``, in rows of their own.

    Args:
        low: smallest value that will come.
        high: greatest value that will come.
        rows: histograms kept side by side.
        cells: cells of each.
    """

    def __init__(self, low: float, high: float, rows: int = 1, cells: int = CELLS) -> None:
        if not high > low:
            low, high = low - 0.5, low + 0.5
        self.low, self.high, self.cells = float(low), float(high), cells
        self.counts = np.zeros((rows, cells), dtype=np.int64)
        self.unknown = 0

    def add(self, values: np.ndarray, row: np.ndarray | int = 0) -> None:
        """Count values; NaN goes to ``unknown``.

        Args:
            values: float64 [n].
            row: the histogram of each, or of all.
        """
        known = ~np.isnan(values)
        self.unknown += int(len(values) - known.sum())
        at = (values[known] - self.low) * (self.cells / (self.high - self.low))
        cell = np.clip(at.astype(np.int64), 0, self.cells - 1)
        place = cell + self.cells * (row[known] if isinstance(row, np.ndarray) else row)
        self.counts += np.bincount(place, minlength=self.counts.size).reshape(self.counts.shape)

    def total(self, row: int = 0) -> int:
        """Values counted."""
        return int(self.counts[row].sum())

    def quantiles(self, shares: Sequence[float], row: int = 0) -> list[float | None]:
        """The middle of the cell in which each quantile lies; None where nothing was counted."""
        total = self.total(row)
        if not total:
            return [None] * len(shares)
        summed = np.cumsum(self.counts[row])
        wanted = np.maximum(1, np.ceil(np.asarray(shares) * total - 1e-9))
        cell = np.searchsorted(summed, wanted)
        width = (self.high - self.low) / self.cells
        return [float(self.low + (c + 0.5) * width) for c in cell]

    def shares(self, edges: np.ndarray, row: int = 0) -> np.ndarray:
        """Share of the values in each coarser cell, float64 [len(edges) - 1].

        What lies outside the edges belongs to the first and the last; a fine cell belongs where
        its middle lies.
        """
        width = (self.high - self.low) / self.cells
        middle = self.low + (np.arange(self.cells) + 0.5) * width
        cell = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, len(edges) - 2)
        found = np.bincount(cell, weights=self.counts[row], minlength=len(edges) - 1)
        return found / max(1, self.total(row))

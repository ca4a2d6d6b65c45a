"""Queries from which alone is learned what is learned from a table (``--fit-sample``).

They are drawn by hashing their ids, so that whoever draws among the same queries draws the same
ones, however the table is divided and whatever of it is scored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from negmine.table import draws

#: Independent of what else is drawn by the ids of queries.
_PURPOSE = "fit sample"


@dataclass(frozen=True)
class FitSample:
    """Some queries.

    Attributes:
        seed: decides the draw.
        limit: drawn are those whose number is at most this.
        queries: how many they are.
        of: of how many.
    """

    seed: int
    limit: float
    queries: int
    of: int

    def record(self) -> dict[str, int]:
        """What decides which they are among a table's, for the fingerprint."""
        return {"queries": self.queries, "seed": self.seed}

    def rows(self, table: pa.Table) -> np.ndarray:
        """The rows of these queries, bool [rows]."""
        return _numbers(table, self.seed) <= self.limit

    def of_table(self, table: pa.Table) -> pa.Table:
        """The rows of these queries, in their order."""
        return table.filter(pa.array(self.rows(table)))


def drawn(tables: Iterable[pa.Table], count: int, seed: int) -> FitSample:
    """``count`` queries of a table, or all where there are fewer.

    Args:
        tables: the table's parts; ``qid`` suffices.
        count: how many.
        seed: decides the draw.
    """
    return among((queries(table, seed)[0] for table in tables), count, seed)


def queries(table: pa.Table, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that the queries of a part have in the draw, each once, and their rows.

    Args:
        table: the part; ``qid`` suffices.
        seed: decides the draw.

    Returns:
        (numbers, float64 [queries]; how many rows each has, int64 [queries]).
    """
    numbers, rows = np.unique(_numbers(table, seed), return_counts=True)
    return numbers, rows


def among(parts: Iterable[np.ndarray], count: int, seed: int) -> FitSample:
    """``count`` queries of a table.

    Args:
        parts: the numbers of each part's :func:`queries`.
        count: how many.
        seed: decides the draw.
    """
    numbers = np.sort(np.concatenate([np.empty(0), *parts]))
    if len(numbers) <= count:
        return FitSample(seed, 1.0, len(numbers), len(numbers))
    return FitSample(seed, float(numbers[count - 1]), count, len(numbers))


def _numbers(table: pa.Table, seed: int) -> np.ndarray:
    qids = table.column("qid")
    return draws.draws(qids, qids, draws.salted(seed, _PURPOSE))

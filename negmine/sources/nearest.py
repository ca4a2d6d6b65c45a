"""The nearest of stored vectors, exactly: who is asked by a query, a document or another query.

The vectors are read once for each group of queries. A block of them is multiplied with a block of
queries in float32, and what exceeds a query's k-th best so far is kept; the kept are then scored
again in float64, and that score alone decides the order and the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from negmine.sources import exact_gpu
from negmine.sources.base import Among
from negmine.sources.exact import BLOCK_QUERIES, MEMORY, SEARCH_ERROR, SLACK, Best, search
from negmine.sources.vectors import ALONE_BYTES, BLOCK_ROWS, Rows, products, score_pairs
from negmine.table.ranking import positions_in_group, rank_order, string_codes

#: Query numbers, rows and scores of pairs.
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
#: Pairs that are scored together at the least.
LEAST_PAIRS = 1024
#: Fewer queries than these are not worth a pass over the vectors.
_LEAST_QUERIES = 64


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Pairs of several searches, one after the other."""
    query, rows, score = (np.concatenate(arrays) for arrays in zip(_nothing(), *parts, strict=True))
    return query, rows, score


def _nothing() -> Pairs:
    return (
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.float32),
    )


@dataclass(frozen=True)
class Nearest:
    """Rows of stored vectors by inner product, ties by the rows' ids.

    Attributes:
        vectors: what is searched.
        ids: ids of rows, string; they are asked for where scores are equal.
        memory: bytes for a search, beside the queries' vectors and the answer.
        on: GPUs that share the search; none where the CPU does it.
    """

    vectors: Rows
    ids: Callable[[np.ndarray], pa.Array]
    memory: int = MEMORY
    on: Sequence[str] = ()

    def depth(self, k: int) -> int:
        """How many rows are fetched, so that exact scores can choose the best ``k`` of them."""
        return min(k + SLACK, len(self.vectors))

    def at_once(self, k: int, more: int = 0) -> int:
        """Queries searched together; ``more``: other bytes that the caller holds of each."""
        depth = self.depth(k)
        # The reservoirs' places, and a pair's query, row, score and place in several orders.
        return max(_LEAST_QUERIES, self.memory // (8 * Best.room(depth) + 80 * depth + more))

    def groups(self, queries: int, k: int, more: int = 0) -> Iterator[slice]:
        """The queries, as many as are searched together."""
        size = self.at_once(k, more)
        for start in range(0, queries, size):
            yield slice(start, start + size)

    def search(self, queries: np.ndarray, k: int, among: Among | None = None) -> Pairs:
        """(query, row, score) of the best ``k`` of each query, by query and (-score, id).

        Args:
            queries: float32 [n, dim], a group of :meth:`groups`.
            k: rows wanted of each; all where there are fewer.
            among: the rows that each query may find, where these are not all.
        """
        k = min(k, len(self.vectors))
        depth = self.depth(k)
        if self.on:
            found, rows = exact_gpu.search(
                self.vectors.parts(), queries, depth, self.on, among=among
            )
        else:
            found, rows = search(self.vectors, queries, depth, memory=self.memory, among=among)
        query = np.repeat(np.arange(len(queries)), depth)
        rows = rows.ravel()
        there = found.ravel() > -np.inf
        score = np.full(len(rows), -np.inf, dtype=np.float32)
        score[there] = score_pairs(self.vectors, queries, query[there], rows[there])
        floor = -np.partition(-score.reshape(len(queries), depth), k - 1, axis=1)[:, k - 1]
        error = SEARCH_ERROR * self.vectors.longest * np.linalg.norm(queries, axis=1)
        # A row that was not fetched scores at most the last fetched one's.
        tied = (floor <= found[:, -1] + error) & (depth < len(self.vectors))
        # Where fewer than k may be found, all of them were.
        tied &= np.isfinite(floor)
        settled = ~tied[query] & there
        pairs = [(query[settled], rows[settled], score[settled])]
        # One more pass takes all that may reach the cut of the queries that are still open.
        open_ = np.flatnonzero(tied)
        for start in range(0, len(open_), BLOCK_QUERIES):
            some = open_[start : start + BLOCK_QUERIES]
            of_some = None if among is None else among.take(some)
            number, more, reached = self._reaching(
                queries[some], floor[some], error[some], k, of_some
            )
            pairs.append((some[number], more, reached))
        return self.ranked(*joined(pairs), k)

    def _reaching(
        self,
        queries: np.ndarray,
        floor: np.ndarray,
        error: np.ndarray,
        k: int,
        among: Among | None,
    ) -> Pairs:
        """(query, row, score) of the best k of queries whose k-th best scores ``floor`` or more."""
        kept = _nothing()
        most = 2 * k * len(queries) + self.memory // 200
        size = max(1, ALONE_BYTES // (24 * max(1, queries.shape[1])))
        for first, block in self.vectors.blocks(self.memory // 8):
            for start in range(0, len(block), BLOCK_ROWS):
                rows = block[start : start + BLOCK_ROWS]
                near = queries @ rows.T >= (floor - error)[:, None]
                if among is not None:
                    near &= among.mask(0, len(queries), first + start, first + start + len(rows))
                query, row = np.nonzero(near)
                for low in range(0, len(query), size):
                    some = slice(low, low + size)
                    score = products(queries[query[some]], rows[row[some]])
                    reach = score >= floor[query[some]]
                    new = (query[some][reach], row[some][reach] + first + start, score[reach])
                    kept = joined([kept, new])
                if len(kept[0]) > most:
                    kept = self.ranked(*kept, k)
        return kept

    def ranked(self, query: np.ndarray, rows: np.ndarray, score: np.ndarray, k: int) -> Pairs:
        """The best k of each query by (-score, id), in order; only ties ask for ids."""
        return ranked(self.ids, query, rows, score, k)


def ranked(
    ids: Callable[[np.ndarray], pa.Array],
    query: np.ndarray,
    rows: np.ndarray,
    score: np.ndarray,
    k: int,
) -> Pairs:
    """The best k of each query by (-score, id), in order.

    Args:
        ids: ids of rows, string; they are asked for where scores are equal.
        query: query numbers of pairs, in any order.
        rows: their rows.
        score: their scores.
        k: rows wanted of each query.
    """
    order = np.lexsort((-score, query))
    query, rows, score = query[order], rows[order], score[order]
    same = (query[1:] == query[:-1]) & (score[1:] == score[:-1])
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    code = np.zeros(len(query), dtype=np.int64)
    code[tied] = string_codes(ids(rows[tied]))[0]
    order = rank_order(query, score, code) if len(tied) else np.arange(len(query))
    order = order[positions_in_group(query[order]) <= k]
    return query[order], rows[order], score[order]


def expanded(counts: np.ndarray, at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(row, 0, 1, ... below the row's count) of all rows, so many at a time."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    size = max(LEAST_PAIRS, at_once)
    for start in range(0, total, size):
        place = np.arange(start, min(start + size, total))
        row = np.searchsorted(ends, place, side="right")
        yield row, place - (ends - counts)[row]


def greatest(result: np.ndarray, row: np.ndarray, score: np.ndarray) -> None:
    """Raise rows of ``result`` (NaN: none yet) to their scores; ``row`` is ascending."""
    if len(row) == 0:
        return
    starts = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
    at = row[starts]
    result[at] = np.fmax(result[at], np.maximum.reduceat(score, starts))

"""Exact search over stored vectors, a block at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from negmine import log
from negmine.memory import MIB
from negmine.sources.base import Among
from negmine.sources.vectors import BLOCK_ROWS, Rows, processor_threads

#: Fetched beyond k, so that the cut is decided by exact scores and docids.
SLACK = 16
#: Relative error of a float32 inner product, in the two vectors' lengths, is well below this.
SEARCH_ERROR = 1e-5
BLOCK_QUERIES = 1024
#: Bytes of a dense search where nobody says how many.
MEMORY = 512 * MIB


@dataclass
class Best:
    """The best rows of every query so far: a reservoir of the size ``2 * depth`` each.

    Attributes:
        depth: rows wanted.
        score: float32 [queries, room], -inf where there is none.
        row: row numbers, int32 or int64 [queries, room].
        count: rows in use of each reservoir.
        limit: what does not exceed this is not among the best ``depth``.
    """

    depth: int
    score: np.ndarray
    row: np.ndarray
    count: np.ndarray
    limit: np.ndarray

    @staticmethod
    def room(depth: int) -> int:
        """Places of a reservoir."""
        return max(2 * depth, 128)

    @classmethod
    def empty(cls, queries: int, depth: int, rows: int) -> Best:
        """Nothing found yet, in a corpus of so many rows."""
        room = cls.room(depth)
        kind = np.int32 if rows <= np.iinfo(np.int32).max else np.int64
        return cls(
            depth,
            np.full((queries, room), -np.inf, dtype=np.float32),
            np.zeros((queries, room), dtype=kind),
            np.zeros(queries, dtype=np.int64),
            np.full(queries, -np.inf, dtype=np.float32),
        )

    def add(self, low: int, scores: np.ndarray, above: np.ndarray, first: int) -> None:
        """Take what exceeds the limits.

        Args:
            low: the first query of this block.
            scores: float32 [block of queries, block of rows].
            above: a buffer for booleans, of that shape.
            first: the row of the first column.
        """
        high = low + len(scores)
        np.greater(scores, self.limit[low:high, None], out=above)
        hit = np.flatnonzero(above)
        if len(hit) == 0:
            return
        query, column = np.divmod(hit, scores.shape[1])
        more = np.bincount(query, minlength=len(scores))
        full = self.count[low:high] + more > self.score.shape[1]
        if full.any():
            self._shrink(low, np.flatnonzero(full), scores, first)
            stays = ~full[query]
            hit, query, column = hit[stays], query[stays], column[stays]
            more[full] = 0
        place = np.arange(len(query)) - np.repeat(np.cumsum(more) - more, more)
        place += self.count[low + query]
        self.score[low + query, place] = scores.ravel()[hit]
        self.row[low + query, place] = column + first
        self.count[low:high] += more

    def _shrink(self, low: int, full: np.ndarray, scores: np.ndarray, first: int) -> None:
        """Keep the best ``depth`` of the reservoirs that would overflow and of their scores."""
        at = low + full
        width = self.score.shape[1]
        every = np.concatenate([self.score[at], scores[full]], axis=1)
        keep = np.argpartition(every, every.shape[1] - self.depth, axis=1)[:, -self.depth :]
        kept = np.take_along_axis(every, keep, axis=1)
        rows = np.take_along_axis(self.row[at], np.minimum(keep, width - 1), axis=1)
        rows = np.where(keep < width, rows, keep - width + first)
        self.score[at] = -np.inf
        self.score[at, : self.depth] = kept
        self.row[at, : self.depth] = rows
        # More than the room, so more than depth, were seen: no kept place is empty.
        self.count[at] = self.depth
        self.limit[at] = kept.min(axis=1)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32, rows int64) [queries, depth], best first."""
        scores = np.empty((len(self.score), self.depth), dtype=np.float32)
        rows = np.empty((len(self.score), self.depth), dtype=np.int64)
        for low in range(0, len(self.score), BLOCK_QUERIES):
            some = slice(low, low + BLOCK_QUERIES)
            order = np.argsort(-self.score[some], axis=1, kind="stable")[:, : self.depth]
            scores[some] = np.take_along_axis(self.score[some], order, axis=1)
            rows[some] = np.take_along_axis(self.row[some], order, axis=1)
        return scores, rows


def search(
    vectors: Rows,
    queries: np.ndarray,
    k: int,
    *,
    memory: int = MEMORY,
    among: Among | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Top-k rows by inner product in float32, in one pass over the corpus per group of queries.

    Args:
        vectors: the corpus.
        queries: float32 [n, dim].
        k: rows wanted per query; at most the corpus size is returned.
        memory: bytes for what is held beside the queries and the answer.
        among: which rows each query may find; without it all.

    Returns:
        (scores float32 [n, k], rows int64 [n, k]), best first; ties in no particular order. A place
        that no row took scores -inf.
    """
    k = min(k, len(vectors))
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    # Half for the reservoirs; two blocks of vectors are there at a time, one being read.
    at_once = max(64, memory // 2 // (8 * Best.room(k)))
    starts = range(0, len(queries), at_once)
    with log.progress("comparing vectors", len(vectors) * len(starts), " vectors") as bar:
        for start in starts:
            some = slice(start, start + at_once)
            best = Best.empty(len(queries[some]), k, len(vectors))
            group = queries[some]
            numbers = np.arange(start, start + len(group))
            may = None if among is None else among.take(numbers)
            _fill(best, vectors, group, memory // 8, bar, may)
            scores[some], rows[some] = best.sorted()
    return scores, rows


def _fill(
    best: Best,
    vectors: Rows,
    queries: np.ndarray,
    size: int,
    bar: log.Progress,
    among: Among | None,
) -> None:
    """One pass over the corpus; blocks of queries are spread over the threads."""
    with processor_threads() as threads:
        height = min(BLOCK_QUERIES, max(64, -(-len(queries) // threads)))

        def work(low: int, first: int, block: np.ndarray) -> None:
            some = queries[low : low + height]
            scores = np.empty(len(some) * BLOCK_ROWS, dtype=np.float32)
            above = np.empty(len(some) * BLOCK_ROWS, dtype=bool)
            for start in range(0, len(block), BLOCK_ROWS):
                rows = block[start : start + BLOCK_ROWS]
                shape = (len(some), len(rows))
                product = scores[: shape[0] * shape[1]].reshape(shape)
                if among is None:
                    np.matmul(some, rows.T, out=product)
                elif not _matching(some, rows, among, (low, first + start), product):
                    continue
                best.add(low, product, above[: product.size].reshape(shape), first + start)

        with ThreadPoolExecutor(threads, thread_name_prefix="search") as pool:
            for first, block in vectors.blocks(size):
                tasks = [
                    pool.submit(work, low, first, block) for low in range(0, len(queries), height)
                ]
                for task in tasks:
                    task.result()
                bar.update(len(block))


def _matching(
    queries: np.ndarray,
    rows: np.ndarray,
    among: Among,
    at: tuple[int, int],
    product: np.ndarray,
) -> bool:
    """Whether any query may find any of some rows; the scores of these, -inf for the others.

    Args:
        queries: a block of vectors.
        rows: likewise, of the corpus.
        among: which rows each query may find.
        at: the number of the first query and of the first row.
        product: gets the scores [queries, rows].
    """
    low, first = at
    may = among.mask(low, low + len(queries), first, first + len(rows))
    columns = np.flatnonzero(may.any(axis=0))
    if len(columns) == 0:
        return False
    if len(columns) < len(rows):
        product.fill(-np.inf)
        product[:, columns] = queries @ rows[columns].T
    else:
        np.matmul(queries, rows.T, out=product)
    product[~may] = -np.inf
    return True

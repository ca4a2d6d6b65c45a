"""Stored impacts: rows of terms on disk, part by part, searched in a stream, exactly.

An impact is a whole number, and so is every product and sum of them: float32 holds them exactly up
to 2^24, and float64 does where they may be larger. A block of documents is turned over (a column
per term), so that for a block of queries only the columns of their terms are read, and multiplied
with these queries' weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from negmine import log, processors
from negmine.errors import InvalidDataError
from negmine.models.impacts import Impacts
from negmine.sources.base import Among
from negmine.sources.exact import MEMORY, SLACK, Best
from negmine.sources.nearest import Pairs, joined, ranked
from negmine.table.artifacts import disk
from negmine.table.artifacts.reading import Artifact

#: Of a part: a row for each document, in their order.
SCHEMA = pa.schema(
    [
        pa.field("terms", pa.list_(pa.field("term", pa.int32(), nullable=False)), nullable=False),
        pa.field(
            "impacts", pa.list_(pa.field("impact", pa.int32(), nullable=False)), nullable=False
        ),
    ]
)
#: Documents of a row group, which are read and searched together.
BLOCK_DOCUMENTS = 4096
#: Queries multiplied together with a block: their scores stay in the cache.
_QUERIES = 64
#: Pairs whose rows are multiplied together.
_PAIRS = 4096
#: Sums below these are exact in float32, and in float64.
_EXACT_32, _EXACT_64 = 1 << 24, 1 << 53


def tables(made: Impacts) -> Iterator[pa.Table]:
    """The rows of a part as tables of :data:`SCHEMA`, one for each row group."""
    for first in range(0, len(made), BLOCK_DOCUMENTS):
        rows = made.between(first, min(first + BLOCK_DOCUMENTS, len(made)))
        starts = pa.array(rows.starts.astype(np.int32))
        columns = [
            pa.ListArray.from_arrays(starts, pa.array(numbers), type=field.type)
            for numbers, field in zip((rows.terms, rows.values), SCHEMA, strict=True)
        ]
        yield pa.Table.from_arrays(columns, schema=SCHEMA)


@dataclass(frozen=True)
class _Block:
    """Some consecutive documents of a part.

    Attributes:
        first: number of the first.
        rows: how many.
        read: reads their impacts.
    """

    first: int
    rows: int
    read: Callable[[], Impacts]


class StoredImpacts:
    """The impacts of a corpus, read block by block; rows are numbered through the parts.

    Args:
        artifact: with parts of :data:`SCHEMA`.
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.terms = int(artifact.counts["terms"])

    def __len__(self) -> int:
        return sum(map(self.artifact.rows, self.artifact.parts))

    def of(self, documents: int) -> StoredImpacts:
        """Themselves, if there is a row for each of so many documents.

        Raises:
            InvalidDataError: there is not.
        """
        if len(self) != documents:
            raise InvalidDataError(
                f"{len(self)} rows of impacts for {documents} documents",
                where=str(self.artifact.path),
                hint="Make the index again.",
            )
        return self

    def blocks(self) -> Iterator[_Block]:
        """All blocks, in order; none is read yet."""
        first = 0
        for name in self.artifact.parts:
            rows = self.artifact.rows(name)
            for group, start in enumerate(range(0, rows, BLOCK_DOCUMENTS)):
                count = min(BLOCK_DOCUMENTS, rows - start)
                yield _Block(first + start, count, lambda n=name, g=group: self._read(n, g))  # type: ignore[misc]
            first += rows

    def _read(self, name: str, group: int) -> Impacts:
        with self.artifact.held(name) as path, disk.mapped(path) as file:
            table = pq.ParquetFile(file).read_row_group(group, use_threads=False)
        terms, values = (table.column(field.name).combine_chunks() for field in SCHEMA)
        return Impacts(
            terms.offsets.to_numpy().astype(np.int64),
            terms.values.to_numpy(zero_copy_only=False),
            values.values.to_numpy(zero_copy_only=False),
        )


@dataclass(frozen=True)
class ImpactSearch:
    """Documents by the product of impacts, which is more than 0; ties by their ids.

    Attributes:
        stored: what is searched.
        ids: ids of rows, string; they are asked for where scores are equal.
        memory: bytes for a search, beside the queries and the answer.
    """

    stored: StoredImpacts
    ids: Callable[[np.ndarray], pa.Array]
    memory: int = MEMORY

    def groups(self, queries: int, k: int) -> Iterator[slice]:
        """The queries, as many as are searched together."""
        depth = k + SLACK
        size = max(_QUERIES, self.memory // (8 * Best.room(depth) + 80 * depth))
        for start in range(0, queries, size):
            yield slice(start, min(start + size, queries))

    def search(self, queries: Impacts, k: int, among: Among | None = None) -> Pairs:
        """(query, row, score float32) of the best ``k`` of each query, by (-score, id).

        Args:
            queries: a group of :meth:`groups`.
            k: rows wanted of each; all that share a term where there are fewer.
            among: the rows that each query may find, where these are not all.
        """
        best = Best.empty(len(queries), k + SLACK, len(self.stored))
        # What shares no term is not found.
        best.limit[:] = 0

        def add(low: int, first: int, scores: np.ndarray) -> None:
            best.add(low, scores, np.empty(scores.shape, dtype=bool), first)

        self._go_through(queries, among, add)
        found, rows = best.sorted()
        query = np.repeat(np.arange(len(queries)), best.depth)
        some = np.isfinite(found)
        # A row that was not fetched scores at most the last fetched one's.
        tied = some[:, -1] & (found[:, k - 1] == found[:, -1])
        settled = (some & ~tied[:, None]).ravel()
        pairs = [(query[settled], rows.ravel()[settled], found.ravel()[settled])]
        if tied.any():
            # One more pass takes all that reach the cut of the queries that are still open.
            open_ = np.flatnonzero(tied)
            of_some = None if among is None else among.take(open_)
            number, more, score = self._reaching(
                queries.take(open_), found[open_, k - 1], k, of_some
            )
            pairs.append((open_[number], more, score))
        return ranked(self.ids, *joined(pairs), k)

    def _reaching(self, queries: Impacts, floor: np.ndarray, k: int, among: Among | None) -> Pairs:
        """(query, row, score) of the best k of queries whose k-th best scores ``floor``."""
        kept: list[Pairs] = []
        most = 2 * k * len(queries) + self.memory // 200

        def add(low: int, first: int, scores: np.ndarray) -> None:
            query, row = np.nonzero(scores >= floor[low : low + len(scores), None])
            kept.append((query + low, row + first, scores[query, row]))
            if sum(len(pairs[0]) for pairs in kept) > most:
                kept[:] = [ranked(self.ids, *joined(kept), k)]

        self._go_through(queries, among, add, threads=1)
        return ranked(self.ids, *joined(kept), k)

    def _go_through(
        self,
        queries: Impacts,
        among: Among | None,
        add: Callable[[int, int, np.ndarray], None],
        threads: int | None = None,
    ) -> None:
        """Multiply all documents with all queries, a block of each at a time.

        Args:
            queries: a row each.
            among: the rows that each query may find.
            add: takes (first query, first row, scores float32 [queries, rows]).
            threads: how many call it at a time, each for other queries.
        """
        blocks = [
            _Weights.of(queries, low, self.stored.terms) for low in range(0, len(queries), _QUERIES)
        ]

        def work(weights: _Weights, block: _Block, columns: dict[Any, Any], longest: int) -> None:
            scores = weights.products(columns, longest)
            if among is not None:
                high = weights.low + len(scores)
                may = among.mask(weights.low, high, block.first, block.first + block.rows)
                scores = scores * may
            add(weights.low, block.first, scores)

        wanted = threads or processors.threads() or processors.allowed()
        with (
            log.progress("comparing impacts", len(self.stored), " documents") as bar,
            ThreadPoolExecutor(wanted, thread_name_prefix="search") as pool,
        ):
            for block in self.stored.blocks():
                made = block.read()
                longest = int(_sums(made).max(initial=0))
                columns = _columns(made, self.stored.terms, blocks, longest)
                tasks = [pool.submit(work, one, block, columns, longest) for one in blocks]
                for task in tasks:
                    task.result()
                bar.update(block.rows)

    def score(
        self, queries: Impacts, query: np.ndarray, rows: np.ndarray
    ) -> npt.NDArray[np.float32]:
        """The product of each (query index, row) pair, exact until it is rounded once."""
        result = np.zeros(len(rows), dtype=np.float32)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        left = _matrix(queries, self.stored.terms, np.int64)
        for block in self.stored.blocks():
            low, high = np.searchsorted(ordered, [block.first, block.first + block.rows])
            if low == high:
                continue
            right = _matrix(block.read(), self.stored.terms, np.int64)
            for start in range(low, high, _PAIRS):
                chosen = order[start : min(start + _PAIRS, high)]
                both = left[query[chosen]].multiply(right[rows[chosen] - block.first])
                result[chosen] = np.asarray(both.sum(axis=1)).ravel()
        return result


@dataclass(frozen=True)
class _Weights:
    """A block of queries.

    Attributes:
        low: number of the first.
        count: how many.
        terms: those that they have, ascending.
        values: their weights, int64 [terms, queries].
        largest: of the absolute values of these.
    """

    low: int
    count: int
    terms: np.ndarray
    values: np.ndarray
    largest: int

    @classmethod
    def of(cls, queries: Impacts, low: int, terms: int) -> _Weights:
        """The queries from ``low`` on."""
        some = queries.between(low, min(low + _QUERIES, len(queries)))
        used = np.unique(some.terms)
        values = np.zeros((len(used), len(some)), dtype=np.int64)
        column = np.repeat(np.arange(len(some)), np.diff(some.starts))
        values[np.searchsorted(used, some.terms), column] = some.values
        return cls(low, len(some), used, values, int(np.abs(values).max(initial=0)))

    def number_type(self, longest: int) -> Any:
        """What holds all products with documents whose impacts add up to ``longest``.

        Raises:
            InvalidDataError: nothing does exactly.
        """
        bound = self.largest * longest
        if bound >= _EXACT_64:
            raise InvalidDataError(
                f"the weights of terms are too large for exact products ({bound:.3g})",
                hint="The model's weights are broken, or not those of a sparse encoder.",
            )
        return np.float32 if bound < _EXACT_32 else np.float64

    def products(self, columns: dict[Any, Any], longest: int) -> np.ndarray:
        """Scores of a block of documents, float32 [queries, documents]."""
        kind = self.number_type(longest)
        found = columns[kind][:, self.terms] @ self.values.astype(kind)
        return np.ascontiguousarray(found.T, dtype=np.float32)


def _columns(made: Impacts, terms: int, blocks: Sequence[_Weights], longest: int) -> dict[Any, Any]:
    """A block of documents by terms, in each number type that the queries need of it."""
    kinds = {one.number_type(longest) for one in blocks}
    return {kind: _matrix(made, terms, kind).tocsc() for kind in kinds}


def _sums(made: Impacts) -> np.ndarray:
    """What each row's impacts add up to, without their signs."""
    until = np.concatenate([[0], np.cumsum(np.abs(made.values), dtype=np.int64)])
    return np.diff(until[made.starts])


def _matrix(made: Impacts, terms: int, kind: Any) -> Any:
    from scipy.sparse import csr_array

    return csr_array((made.values.astype(kind), made.terms, made.starts), shape=(len(made), terms))

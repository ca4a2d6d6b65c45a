"""Which documents fit which queries: conditions as masks over blocks of queries and documents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from negmine.table.documents import Documents
from negmine.table.draws import splitmix
from negmine.table.ranking import positions_in_group

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Pairs of a wanted value and a document that are compared at a time.
_AT_ONCE = 1 << 20
#: Documents, and pairs of a query and a document, that are looked at at a time for a draw.
_BLOCK, _DRAWN = 8192, 1 << 18
#: Mean radius of the Earth in metres (IUGG).
EARTH = 6371008.8
#: Degrees beyond which there is no latitude.
POLE = 90.0


class Condition(Protocol):
    """What documents must be for each of some queries."""

    def take(self, queries: Ints) -> Condition:
        """The same for some of the queries, by their numbers."""

    def mask(self, low: int, high: int, first: int, last: int) -> Mask:
        """Whether documents fit, bool [queries low to high, documents first to last]."""

    def idle(self) -> Mask:
        """The queries that it has nothing to compare with, bool [queries]."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """A few of something for each query.

    Attributes:
        starts: where each query's begin, and where the last one's end, int64 [queries + 1].
    """

    starts: Ints

    def pick(self, queries: Ints) -> tuple[Ints, Ints]:
        """(new starts, rows) of some queries."""
        lengths = np.diff(self.starts)[queries]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        rows = np.arange(starts[-1]) + np.repeat(self.starts[queries] - starts[:-1], lengths)
        return starts, rows

    def none(self) -> Mask:
        """The queries that have none, bool [queries]."""
        found: Mask = np.diff(self.starts) == 0
        return found

    def groups(self, low: int, high: int, width: int) -> Iterator[tuple[int, int]]:
        """Runs of queries whose rows times ``width`` are about :data:`_AT_ONCE` at most."""
        most = max(1, _AT_ONCE // max(1, width))
        while low < high:
            end = int(np.searchsorted(self.starts, self.starts[low] + most, side="right")) - 1
            end = min(high, max(low + 1, end))
            yield low, end
            low = end

    def any(self, low: int, high: int, fits: Mask) -> Mask:
        """Whether any row of each query fits, bool [queries, n], of ``fits`` [their rows, n]."""
        starts = self.starts[low:high] - self.starts[low]
        some = np.diff(self.starts[low : high + 1]) > 0
        found = np.zeros((high - low, fits.shape[1]), dtype=bool)
        if some.any():
            found[some] = np.logical_or.reduceat(fits, starts[some], axis=0)
        return found


def ragged(query: npt.NDArray[np.integer], queries: int) -> Ragged:
    """Of the ascending query number of each row."""
    return Ragged(np.searchsorted(query, np.arange(queries + 1)).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Within:
    """A value lies in one of the query's closed intervals, or, ``negated``, is in none of them.

    A document without a value (NaN, or a negative code of that meaning) fits nothing, and neither
    does any document for a query without an interval.

    Attributes:
        values: of every document; int32 codes have the value ``missing`` where there is none.
        rows: the intervals of each query.
        low: where each begins, [m].
        high: where it ends, [m].
        negated: whether what is outside fits.
        missing: the code of no value.
    """

    values: npt.NDArray[np.int32] | Floats
    rows: Ragged
    low: npt.NDArray[np.int32] | Floats
    high: npt.NDArray[np.int32] | Floats
    negated: bool = False
    missing: int | None = None

    def take(self, queries: Ints) -> Within:
        """Of some queries."""
        starts, rows = self.rows.pick(queries)
        low, high = self.low[rows], self.high[rows]
        return Within(self.values, Ragged(starts), low, high, self.negated, self.missing)

    def idle(self) -> Mask:
        """Queries without an interval."""
        return self.rows.none()

    def mask(self, low: int, high: int, first: int, last: int) -> Mask:
        """Which documents fit."""
        values = self.values[first:last]
        found = np.empty((high - low, len(values)), dtype=bool)
        for begin, end in self.rows.groups(low, high, len(values)):
            some = slice(self.rows.starts[begin], self.rows.starts[end])
            fits = values >= self.low[some, None]
            fits &= values <= self.high[some, None]
            found[begin - low : end - low] = self.rows.any(begin, end, fits)
        if self.negated:
            # Neither who has no value nor who asks for none differs.
            np.logical_not(found, out=found)
            found &= ~self.rows.none()[low:high, None]
        if self.missing is not None:
            found &= values != self.missing
        return found


@dataclass(frozen=True, eq=False)
class Near:
    """A place lies within a distance of one of the query's places, over a sphere.

    Haversines are compared by the straight lines through the sphere, which near places do not
    round away.

    Attributes:
        latitude: of every document in degrees, NaN where there is none.
        longitude: likewise.
        rows: the places of each query.
        place: their unit vectors [m, 3].
        metres: how far away a document may be.
    """

    latitude: Floats
    longitude: Floats
    rows: Ragged
    place: Floats
    metres: float

    def take(self, queries: Ints) -> Near:
        """Of some queries."""
        starts, rows = self.rows.pick(queries)
        return Near(self.latitude, self.longitude, Ragged(starts), self.place[rows], self.metres)

    def idle(self) -> Mask:
        """Queries without a place."""
        return self.rows.none()

    def mask(self, low: int, high: int, first: int, last: int) -> Mask:
        """Which documents fit."""
        there = unit_vectors(self.latitude[first:last], self.longitude[first:last])
        found = np.empty((high - low, len(there)), dtype=bool)
        reach = math.sin(min(self.metres / (2 * EARTH), math.pi / 2))
        for begin, end in self.rows.groups(low, high, 8 * len(there)):
            place = self.place[self.rows.starts[begin] : self.rows.starts[end]]
            squared = np.zeros((len(place), len(there)))
            for axis in range(3):
                squared += np.square(place[:, axis, None] - there[None, :, axis])
            # NaN is not near.
            fits = squared <= 4 * reach * reach
            found[begin - low : end - low] = self.rows.any(begin, end, fits)
        return found


def unit_vectors(latitude: Floats, longitude: Floats) -> Floats:
    """Places in degrees as points on the unit sphere [n, 3]; NaN where there is none."""
    latitude = np.where(np.abs(latitude) <= POLE, latitude, np.nan)
    phi, theta = np.radians(latitude), np.radians(longitude)
    across = np.cos(phi)
    return np.stack([across * np.cos(theta), across * np.sin(theta), np.sin(phi)], axis=1)


@dataclass(frozen=True, eq=False)
class Matching:
    """What fits some queries: every condition holds.

    Attributes:
        documents: the corpus.
        conditions: one or more, each of the same queries.
        queries: how many there are.
    """

    documents: Documents
    conditions: Sequence[Condition]
    queries: int

    def take(self, queries: Ints) -> Matching:
        """The same for some of the queries, by their numbers."""
        conditions = [condition.take(queries) for condition in self.conditions]
        return Matching(self.documents, conditions, len(queries))

    def mask(self, low: int, high: int, first: int, last: int) -> Mask:
        """Whether documents fit, bool [queries low to high, documents first to last]."""
        found = self.conditions[0].mask(low, high, first, last)
        for condition in self.conditions[1:]:
            found &= condition.mask(low, high, first, last)
        return found

    def idle(self) -> Mask:
        """The queries for which a condition has nothing to compare with, bool [queries]."""
        found = np.zeros(self.queries, dtype=bool)
        for condition in self.conditions:
            found |= condition.idle()
        return found

    def parts(self) -> Iterator[tuple[int, pa.Array]]:
        """(first row, docids) of the corpus, part by part."""
        for first, part in self.documents.parts(["docid"]):
            yield first, part.column("docid").combine_chunks()


def distinct_codes(
    query: npt.NDArray[np.integer], code: npt.NDArray[np.integer], queries: int
) -> tuple[Ragged, npt.NDArray[np.int32]]:
    """Each query's distinct codes."""
    width = int(code.max(initial=0)) + 1
    pairs = np.unique(query.astype(np.int64) * width + code)
    return ragged(pairs // width, queries), (pairs % width).astype(np.int32)


def around(
    query: npt.NDArray[np.integer], value: Floats, radius: float, queries: int
) -> tuple[Ragged, Floats, Floats]:
    """Each query's intervals around its values, ascending and apart from each other.

    Args:
        query: the query of each value, ascending.
        value: finite values.
        radius: half an interval.
        queries: how many queries there are.
    """
    order = np.lexsort((value, query))
    query, value = query[order], value[order]
    low, high = value - radius, value + radius
    joins = np.zeros(len(value), dtype=bool)
    joins[1:] = (query[1:] == query[:-1]) & (low[1:] <= high[:-1])
    first = np.flatnonzero(~joins)
    last = np.append(first[1:], len(value)) - 1 if len(value) else first
    return ragged(query[first], queries), low[first], high[last]


def lowest(
    matching: Matching,
    queries: npt.NDArray[np.uint64],
    documents: npt.NDArray[np.uint64],
    k: int,
) -> tuple[Ints, Ints]:
    """The k documents that fit each query whose mixed numbers are the lowest.

    Args:
        matching: what fits.
        queries: a number of each query.
        documents: a number of each document.
        k: how many are wanted.

    Returns:
        (query, row), ascending by query, then by the mixed number.
    """
    limit = np.full(len(queries), np.iinfo(np.uint64).max)
    held: list[tuple[Ints, Ints, npt.NDArray[np.uint64]]] = []
    count, room = 0, 2 * k * len(queries) + _AT_ONCE
    for first in range(0, len(documents), _BLOCK):
        last = min(first + _BLOCK, len(documents))
        at_once = max(1, _DRAWN // (last - first))
        for low in range(0, len(queries), at_once):
            high = min(low + at_once, len(queries))
            query, place = np.nonzero(matching.mask(low, high, first, last))
            query, row = query + low, place + first
            number = splitmix(queries[query] ^ documents[row])
            taken = np.flatnonzero(number <= limit[query])
            held.append((query[taken], row[taken], number[taken]))
            count += len(taken)
            if count > room:
                held = [_cut(held, k, limit)]
                count = len(held[0][0])
    query, row, _ = _cut(held, k, limit)
    return query, row


def _cut(
    held: Sequence[tuple[Ints, Ints, npt.NDArray[np.uint64]]],
    k: int,
    limit: npt.NDArray[np.uint64],
) -> tuple[Ints, Ints, npt.NDArray[np.uint64]]:
    """The lowest k of each query, in order; ``limit`` gets the k-th of those that have as many."""
    query, row, number = (np.concatenate(arrays) for arrays in zip(*held, strict=True))
    order = np.lexsort((row, number, query))
    place = positions_in_group(query[order])
    order = order[place <= k]
    query, row, number = query[order], row[order], number[order]
    full = positions_in_group(query) == k
    limit[query[full]] = number[full]
    return query, row, number

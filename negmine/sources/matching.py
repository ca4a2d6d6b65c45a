"""Which documents fit which queries: conditions as masks over blocks of queries and documents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from negmine.table.documents import Documents
from negmine.table.draws import splitmix
from negmine.table.ranking import positions_in_group

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Pairs that are compared, or held before they are cut, at a time.
_AT_ONCE = 1 << 18
#: For a draw: documents and places of a mask that are looked at at a time, and pairs that fit.
_BLOCK, _MASK, _DRAWN = 8192, 1 << 21, 1 << 18
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

    def of(self, low: int, high: int) -> tuple[Ints, slice]:
        """(query of each row, counted from ``low``, the rows) of a run of queries."""
        counts = np.diff(self.starts[low : high + 1])
        rows = slice(int(self.starts[low]), int(self.starts[high]))
        return np.repeat(np.arange(high - low), counts), rows

    def none(self) -> Mask:
        """The queries that have none, bool [queries]."""
        found: Mask = np.diff(self.starts) == 0
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
        found = np.zeros((high - low, len(values)), dtype=bool)
        query, some = self.rows.of(low, high)
        order = np.argsort(values, kind="stable")
        begin, end = _slices(values[order], self.low[some], self.high[some])
        for one in np.flatnonzero(end > begin).tolist():
            found[query[one], order[begin[one] : end[one]]] = True
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
        latitude = self.latitude[first:last]
        there = unit_vectors(latitude, self.longitude[first:last])
        found = np.zeros((high - low, len(there)), dtype=bool)
        query, some = self.rows.of(low, high)
        place = self.place[some]
        reach = math.sin(min(self.metres / (2 * EARTH), math.pi / 2))
        # Only what is as near in latitude alone is compared; a little more, for what is rounded.
        order = np.argsort(latitude, kind="stable")
        at = np.degrees(np.arcsin(place[:, 2].clip(-1, 1)))
        far = math.degrees(self.metres / EARTH) + 1e-6
        begin, end = _slices(latitude[order], at - far, at + far)
        for one, position in _expanded(begin, end):
            row = order[position]
            squared = np.square(place[one] - there[row]).sum(axis=1)
            # NaN is not near.
            near = squared <= 4 * reach * reach
            found[query[one[near]], row[near]] = True
        return found


def _slices(
    ascending: npt.NDArray[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> tuple[Ints, Ints]:
    """Where the values from each ``low`` to each ``high`` begin and end; NaN comes last."""
    begin = np.searchsorted(ascending, low, side="left")
    return begin, np.maximum(begin, np.searchsorted(ascending, high, side="right"))


def _expanded(begin: Ints, end: Ints) -> Iterator[tuple[Ints, Ints]]:
    """(number of the slice, position) of everything in some slices, some at a time."""
    lengths = end - begin
    before = np.concatenate(([0], np.cumsum(lengths)))
    start = 0
    while start < len(lengths):
        stop = int(np.searchsorted(before, before[start] + _AT_ONCE, side="right")) - 1
        stop = min(len(lengths), max(start + 1, stop))
        some = lengths[start:stop]
        one = np.repeat(np.arange(start, stop), some)
        yield one, np.arange(before[start], before[stop]) - before[one] + begin[one]
        start = stop


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
    for query, row in _fitting(matching, len(queries), len(documents)):
        number = splitmix(queries[query] ^ documents[row])
        taken = np.flatnonzero(number <= limit[query])
        held.append((query[taken], row[taken], number[taken]))
        count += len(taken)
        if count > room:
            held = [_cut(held, k, limit)]
            count = len(held[0][0])
    if not held:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    query, row, _ = _cut(held, k, limit)
    return query, row


def _fitting(matching: Matching, queries: int, documents: int) -> Iterator[tuple[Ints, Ints]]:
    """The (query, row) pairs that fit, some at a time."""
    for first in range(0, documents, _BLOCK):
        last = min(first + _BLOCK, documents)
        at_once = max(1, _MASK // (last - first))
        for low in range(0, queries, at_once):
            high = min(low + at_once, queries)
            query, place = np.nonzero(matching.mask(low, high, first, last))
            for start in range(0, len(query), _DRAWN):
                some = slice(start, start + _DRAWN)
                yield query[some] + low, place[some] + first


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

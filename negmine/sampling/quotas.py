"""Which survivors fill places of several kinds: pure functions over bit masks.

Each kind (a *quota*) has so many places in every query, a row may be of several kinds, and takes
one place. Rows are taken in the sampler's order, each if all that are taken can still be given
places of their own. The sets of rows for which that holds make a matroid (a transversal one), so
that this fills as many places as can be filled, and of all ways to do so takes the rows that the
sampler prefers. Whether it holds is Hall's condition: of the rows that are of no other kinds than
those of a set there are at most as many as that set has places, for every set of kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from negmine.table.ranking import group_starts

#: Most kinds: every set of them is counted.
MOST = 12
#: Counts that are held at a time.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Wanted:
    """What a query wants.

    Attributes:
        total: rows, at most.
        places: of each quota; empty where there is none.
        fill: whether places that stay empty are given to rows of any kind.
    """

    total: int
    places: tuple[int, ...] = ()
    fill: bool = False


def chosen(query: np.ndarray, place: np.ndarray, kinds: np.ndarray, wanted: Wanted) -> np.ndarray:
    """True for the rows that a query takes, bool [rows].

    Args:
        query: query number of each row, ascending.
        place: its place in the query's preference, 1 = first; 0 = it may not be taken.
        kinds: the quotas that it may fill, a bit each.
        wanted: what is wanted.
    """
    rows = np.flatnonzero(place > 0)
    rows = rows[np.lexsort((place[rows], query[rows]))]
    found = np.zeros(len(query), dtype=bool)
    free = np.ones(len(rows), dtype=bool)
    found[rows] = claims(query[rows], free, kinds[rows], wanted)
    return found


def claims(query: np.ndarray, free: np.ndarray, kinds: np.ndarray, wanted: Wanted) -> np.ndarray:
    """Likewise, of rows in the order of their query's preference.

    Args:
        query: query number of each row, ascending.
        free: True for rows that may be taken.
        kinds: the quotas that each may fill, a bit each.
        wanted: what is wanted.
    """
    if not wanted.places:
        return free & (_before(query, free) < wanted.total)
    taken = _taken(query, free, kinds, wanted.places)
    if not wanted.fill:
        return taken
    size = int(query[-1]) + 1 if len(query) else 0
    missing = wanted.total - np.bincount(query[taken], minlength=size)
    others = free & ~taken
    return taken | (others & (_before(query, others) < missing[query]))


def filled(
    query: np.ndarray, order: np.ndarray, kinds: np.ndarray, places: tuple[int, ...]
) -> np.ndarray:
    """Which quota each of the rows fills that were taken, int64 [rows].

    In the query's order each row takes the first of its quotas that leaves the rows after it places
    of their own: so the options' order decides, and what has few rows goes first.

    Args:
        query: query number of each row, ascending.
        order: what the rows of a query are asked in; distinct.
        kinds: the quotas that each may fill, at least one.
        places: of each quota.
    """
    rows = np.lexsort((order, query))
    found = np.full(len(query), -1, dtype=np.int64)
    sets = _Sets(places)
    for some in _blocks(query[rows], sets.count):
        part = rows[some]
        found[part] = _given(query[part], kinds[part], sets)
    return found


class _Sets:
    """Every set of quotas, by its bits.

    Attributes:
        count: how many there are.
        room: places of each, int64 [sets].
        holds: whether it holds a quota, bool [quotas, sets].
        covers: whether it holds all of another set, bool [sets, sets].
    """

    def __init__(self, places: tuple[int, ...]) -> None:
        self.count = 1 << len(places)
        every = np.arange(self.count)
        self.holds = (every >> np.arange(len(places))[:, None] & 1).astype(bool)
        self.room = np.array(places, dtype=np.int64) @ self.holds
        self.covers = (every[:, None] & ~every) == 0


def _blocks(query: np.ndarray, width: int) -> list[slice]:
    """Rows of so many queries that a count for each of their sets fits, in order."""
    starts = group_starts(query)
    firsts = starts[:: max(1, _AT_ONCE // width)].tolist()
    return [slice(*ends) for ends in pairwise([*firsts, len(query)])]


def _taken(
    query: np.ndarray, free: np.ndarray, kinds: np.ndarray, places: tuple[int, ...]
) -> np.ndarray:
    """True for the rows that take a place."""
    rows = np.flatnonzero(free & (kinds > 0))
    found = np.zeros(len(query), dtype=bool)
    sets = _Sets(places)
    for some in _blocks(query[rows], sets.count):
        part = rows[some]
        found[part] = _greedy(query[part], kinds[part], sets)
    return found


def _greedy(query: np.ndarray, kinds: np.ndarray, sets: _Sets) -> np.ndarray:
    """The n-th rows of all queries at a time."""
    starts = group_starts(query)
    lengths = np.diff(np.append(starts, len(query)))
    used = np.zeros((len(starts), sets.count), dtype=np.int64)
    found = np.zeros(len(query), dtype=bool)
    active = np.arange(len(starts))
    for step in range(int(lengths.max(initial=0))):
        active = active[(lengths[active] > step) & (used[active, -1] < sets.room[-1])]
        if not len(active):
            break
        rows = starts[active] + step
        within = sets.covers[kinds[rows]]
        fits = (~within | (used[active] < sets.room)).all(axis=1)
        used[active[fits]] += within[fits]
        found[rows[fits]] = True
    return found


def _given(query: np.ndarray, kinds: np.ndarray, sets: _Sets) -> np.ndarray:
    """The quota of each row, the n-th rows of all queries at a time."""
    starts = group_starts(query)
    lengths = np.diff(np.append(starts, len(query)))
    if not len(starts):
        return np.empty(0, dtype=np.int64)
    waiting = np.add.reduceat(sets.covers[kinds], starts, axis=0, dtype=np.int64)
    room = np.tile(sets.room, (len(starts), 1))
    found = np.full(len(query), -1, dtype=np.int64)
    for step in range(int(lengths.max(initial=0))):
        asked = np.flatnonzero(lengths > step)
        rows = starts[asked] + step
        waiting[asked] -= sets.covers[kinds[rows]]
        for quota, holds in enumerate(sets.holds):
            able = (found[rows] < 0) & (kinds[rows] >> quota & 1).astype(bool)
            able &= (waiting[asked] <= room[asked] - holds).all(axis=1)
            found[rows[able]] = quota
            room[asked[able]] -= holds
    return found


def _before(query: np.ndarray, some: np.ndarray) -> np.ndarray:
    """How many of some rows stand before each in its query, int64 [rows]."""
    starts = group_starts(query)
    lengths = np.diff(np.append(starts, len(query)))
    before: np.ndarray = np.cumsum(some) - some
    return before - np.repeat(before[starts], lengths)

"""Quotas against every way of giving rows places, tried one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.sampling import quotas, samplers
from negmine.sampling.quotas import Wanted

#: The kinds of the rows of a query, best first, as sets of quotas.
Rows = list[frozenset[int]]


def fits(rows: Sequence[frozenset[int]], places: Sequence[int]) -> bool:
    """Whether rows can be given places of their own: every way is tried."""
    return any(
        all(given.count(quota) <= number for quota, number in enumerate(places))
        for given in product(*rows)
    )


def taken_by_hand(rows: Rows, places: Sequence[int], fill: bool) -> list[bool]:
    """Best first, each row that leaves all that are taken places of their own."""
    taken = [False] * len(rows)
    for at, kinds in enumerate(rows):
        before = [one for one, there in zip(rows, taken, strict=True) if there]
        taken[at] = bool(kinds) and fits([*before, kinds], places)
    for at in range(len(rows)):
        if fill and not taken[at] and sum(taken) < sum(places):
            taken[at] = True
    return taken


def bits(rows: Rows) -> list[int]:
    return [sum(1 << quota for quota in kinds) for kinds in rows]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Rows], tuple[int, ...]]:
    count = draw(st.integers(1, 3))
    places = tuple(draw(st.lists(st.integers(1, 2), min_size=count, max_size=count)))
    row = st.frozensets(st.integers(0, count - 1))
    return draw(st.lists(st.lists(row, max_size=7), min_size=1, max_size=4)), places


@settings(max_examples=150, deadline=None)
@given(tables(), st.booleans(), st.randoms(use_true_random=False))
def test_rows_are_taken_as_by_hand(
    table: tuple[list[Rows], tuple[int, ...]], fill: bool, random: object
) -> None:
    queries, places = table
    query, place, kinds, wanted = [], [], [], []
    for number, rows in enumerate(queries):
        mixed = list(enumerate(zip(rows, taken_by_hand(rows, places, fill), strict=True), 1))
        random.shuffle(mixed)  # type: ignore[attr-defined]
        for at, (one, taken) in mixed:
            query.append(number)
            place.append(at)
            kinds += bits([one])
            wanted.append(taken)
    arrays = [np.array(one, dtype=np.int64) for one in (query, place, kinds)]
    found = quotas.chosen(*arrays, Wanted(sum(places), places, fill))
    assert found.tolist() == wanted
    alone = quotas.chosen(*arrays, Wanted(sum(places), places))
    q, at, of = (one[alone] for one in arrays)
    given = quotas.filled(q, at, of, places)
    assert (of >> given & 1).all(), "a row fills a quota that it is not of"
    for number in range(len(queries)):
        mine = np.bincount(given[q == number], minlength=len(places))
        assert (mine <= places).all()
        # No way of giving places gives more of them.
        rows = [one for one in queries[number] if one]
        sizes = [n for n in range(len(rows) + 1) if any_fit(rows, n, places)]
        assert mine.sum() == max(sizes)


def any_fit(rows: Rows, size: int, places: Sequence[int]) -> bool:
    return size <= sum(places) and any(fits(some, places) for some in combinations(rows, size))


def test_each_row_takes_the_first_quota_that_leaves_the_others_theirs() -> None:
    # Both may be of 0 or 1; the second only of 0, so the first goes to 1.
    query = np.zeros(2, dtype=np.int64)
    assert quotas.filled(query, np.array([1, 2]), np.array([3, 1]), (1, 1)).tolist() == [1, 0]
    assert quotas.filled(query, np.array([1, 2]), np.array([3, 3]), (1, 1)).tolist() == [0, 1]


def test_blocks_of_queries_change_nothing(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    query = np.repeat(np.arange(50), 20)
    place = np.tile(np.arange(1, 21), 50)
    kinds = rng.integers(0, 8, 1000)
    wanted = Wanted(6, (1, 2, 3))
    whole = quotas.chosen(query, place, kinds, wanted)
    monkeypatch.setattr(quotas, "_AT_ONCE", 16)  # type: ignore[attr-defined]
    assert (quotas.chosen(query, place, kinds, wanted) == whole).all()
    assert whole.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_no_document_serves_more_queries_than_it_may(seed: int, fill: bool) -> None:
    """Deferred acceptance with quotas is stable: nobody would rather have what has room for it."""
    rng = np.random.default_rng(seed)
    queries, documents, limit, places = 6, 8, 2, (1, 2)
    query = np.repeat(np.arange(queries), documents)
    doc = np.tile(np.arange(documents, dtype=np.uint64), queries)
    place = np.concatenate([rng.permutation(documents) + 1 for _ in range(queries)])
    draw = rng.random(len(query))
    kinds = rng.integers(0, 4, len(query))
    wanted = Wanted(3, places, fill)
    cut = samplers.reuse_cut(query, doc, place, draw, kinds=kinds, wanted=wanted, limit=limit)
    cutoff = np.full(documents, np.inf)
    cutoff[cut.docs.astype(int)] = cut.cutoff
    allowed = draw < cutoff[doc.astype(int)]
    chosen = quotas.chosen(query, np.where(allowed, place, 0), kinds, wanted)
    serves = np.bincount(doc[chosen].astype(int), minlength=documents)
    assert (serves <= limit).all()
    # Only what is full refuses anybody.
    assert (serves[cut.docs.astype(int)] == limit).all()


def test_a_stride_by_hand() -> None:
    query = np.zeros(7, dtype=np.int64)
    score = np.array([7.0, 6, 5, 4, 3, 2, 1])
    everyone = np.ones(7, dtype=bool)
    preference = samplers.strided(query, score, np.arange(7), everyone, 3)
    assert np.argsort(-preference).tolist() == [0, 3, 6, 1, 4, 2, 5]

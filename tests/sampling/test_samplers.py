"""Samplers by hand, by frequency, and the limit on reuse."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.sampling import samplers
from negmine.sampling.quotas import Wanted
from negmine.table import draws, ranking

ONE_QUERY = np.zeros(5, dtype=np.int64)
DOCS = np.arange(5)


def test_positions_count_survivors_only_and_put_nan_last() -> None:
    preference = np.array([0.1, 0.9, np.nan, 0.5, 0.9])
    survivors = np.array([True, True, True, False, True])
    found = ranking.positions(ONE_QUERY, preference, DOCS, survivors)
    assert found.tolist() == [3, 1, 4, 0, 2]


def uniform(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=n)


@pytest.mark.parametrize(
    ("form", "a", "b", "log_weights"),
    [
        # s - p = -1, 0, 1 with b = 1: the paper peaks at s = p + 1, the code at p - 1.
        ("simans", 0.5, 1.0, [-2.0, -0.5, 0.0]),
        ("simans-code", 0.5, 1.0, [0.0, -0.5, -2.0]),
        ("simans-abs", 3.0, 1.0, [-3.0, 0.0, -3.0]),
    ],
)
def test_simans_draws_with_its_weights(
    form: str, a: float, b: float, log_weights: list[float]
) -> None:
    trials = 40_000
    draw = uniform(3 * trials).reshape(trials, 3)
    gap = np.array([-1.0, 0.0, 1.0])
    key = samplers.simans(5.0 + gap, np.full(3, 5.0), draw, a=a, b=b, form=form)
    share = np.bincount(key.argmax(axis=1), minlength=3) / trials
    weights = np.exp(log_weights)
    assert share == pytest.approx(weights / weights.sum(), abs=0.01)


def test_simans_survives_weights_that_underflow() -> None:
    score = np.array([-1000.0, -2000.0])
    key = samplers.simans(score, np.zeros(2), np.array([0.0, 1.0]), a=0.5, b=0.0, form="simans")
    assert np.isfinite(key).all()
    assert key[0] > key[1]


def test_stratified_takes_one_of_every_bin_first() -> None:
    query = np.zeros(6, dtype=np.int64)
    score = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    survivors = np.ones(6, dtype=bool)
    for seed in range(5):
        preference = samplers.stratified(query, score, np.arange(6), survivors, uniform(6, seed), 3)
        place = ranking.positions(query, preference, np.arange(6), survivors)
        first = np.flatnonzero(place <= 3)
        # Bins {6, 5}, {4, 3}, {2, 1}.
        assert sorted(first // 2) == [0, 1, 2]


def test_a_draw_depends_on_the_pair_and_the_seed_only() -> None:
    qids = pa.chunked_array([["a", "a", "b"]])
    docids = pa.chunked_array([["x", "y", "x"]])
    whole = draws.draws(qids, docids, 1)
    part = draws.draws(qids.slice(1), docids.slice(1), 1)
    assert whole[1:].tolist() == part.tolist()
    assert len(set(whole)) == 3
    assert draws.draws(qids, docids, 2)[0] != whole[0]


def chosen_with(
    query: np.ndarray, doc: np.ndarray, place: np.ndarray, draw: np.ndarray, wanted: int, limit: int
) -> set[tuple[int, int]]:
    kinds = np.zeros(len(query), dtype=np.int64)
    cut = samplers.reuse_cut(
        query, doc, place, draw, kinds=kinds, wanted=Wanted(wanted), limit=limit
    )
    cutoff = dict(zip(cut.docs.tolist(), cut.cutoff.tolist(), strict=True))
    taken: set[tuple[int, int]] = set()
    for q in np.unique(query):
        mine = [i for i in np.flatnonzero(query == q) if draw[i] < cutoff.get(doc[i], np.inf)]
        mine.sort(key=lambda i: place[i])
        taken |= {(int(q), int(doc[i])) for i in mine[:wanted]}
    return taken


def test_reuse_by_hand() -> None:
    """Both want document 7 first; it prefers query 1, so query 0 takes its next, 8."""
    query = np.array([0, 0, 1, 1])
    doc = np.array([7, 8, 7, 9], dtype=np.uint64)
    place = np.array([1, 2, 1, 2])
    draw = np.array([0.5, 0.5, 0.2, 0.5])
    assert chosen_with(query, doc, place, draw, 1, 1) == {(0, 8), (1, 7)}
    assert chosen_with(query, doc, place, draw, 1, 2) == {(0, 7), (1, 7)}


@settings(deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99)
)
def test_reuse_is_stable_and_does_not_depend_on_the_order(
    queries: int, docs: int, wanted: int, limit: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query = np.repeat(np.arange(queries), docs)
    doc = np.tile(np.arange(docs, dtype=np.uint64), queries)
    place = np.concatenate([rng.permutation(docs) + 1 for _ in range(queries)])
    draw = rng.permutation(len(query)) / len(query)
    taken = chosen_with(query, doc, place, draw, wanted, limit)
    used = np.bincount([d for _, d in taken], minlength=docs)
    assert used.max(initial=0) <= limit
    # Stable: who wants a document more than what it has was refused for better claims.
    for q in range(queries):
        mine = list(np.flatnonzero(query == q))
        worst = max((place[i] for i in mine if (q, int(doc[i])) in taken), default=0)
        full = sum((q, int(doc[i])) in taken for i in mine) == wanted
        for i in mine:
            if (q, int(doc[i])) not in taken and (not full or place[i] < worst):
                holders = [
                    draw[j]
                    for j in np.flatnonzero(doc == doc[i])
                    if (int(query[j]), int(doc[j])) in taken
                ]
                assert len(holders) == limit
                assert max(holders) < draw[i]
    order = rng.permutation(len(query))
    assert chosen_with(query[order], doc[order], place[order], draw[order], wanted, limit) == taken


def test_a_spread_is_the_deviation_of_the_survivors_scores() -> None:
    query = np.array([0, 0, 0, 0, 1, 1, 2, 2, 3])
    score = np.array([1.0, 3.0, 90.0, np.nan, 0.1, 0.1, 5.0, 7.0, np.nan])
    survivors = np.array([True, True, False, True, True, True, True, True, True])
    found = samplers.spreads(query, score, survivors)
    # Alike, or unknown: any unit does.
    assert found.tolist() == [1.0] * 4 + [1.0, 1.0] + [1.0, 1.0] + [1.0]
    wide = samplers.spreads(query, score * 4, survivors)
    assert wide.tolist() == [4.0] * 4 + [1.0, 1.0] + [4.0, 4.0] + [1.0]


def test_no_rows_have_no_spread() -> None:
    none = np.empty(0, dtype=np.int64)
    assert samplers.spreads(none, none * 1.0, none.astype(bool)).tolist() == []


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.floats(0.01, 100), st.floats(-50, 50))
def test_simans_in_spreads_does_not_know_the_scale_of_a_score(
    seed: int, scale: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    score, draw = rng.normal(size=40), rng.uniform(size=40)
    query, everyone = np.zeros(40, dtype=np.int64), np.ones(40, dtype=bool)

    def preference(s: np.ndarray, p: float) -> np.ndarray:
        spread = samplers.spreads(query, s, everyone)
        return samplers.simans(s / spread, p / spread, draw, a=0.5, b=1.0, form="simans")

    plain, other = preference(score, 1.5), preference(score * scale + shift, 1.5 * scale + shift)
    assert other == pytest.approx(plain, rel=1e-6, abs=1e-6)

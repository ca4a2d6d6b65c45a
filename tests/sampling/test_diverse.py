"""Maximal marginal relevance against a naive walk, and one of each cluster."""

from __future__ import annotations

import numpy as np
import pytest

from negmine.sampling import diverse


def naive(
    score: list[float], docid: list[int], likeness: np.ndarray, n: int, balance: float
) -> list[int]:
    """One query, a document at a time, as the paper tells it."""
    low, high = min(score), max(score)
    relevance = [(one - low) / (high - low or 1.0) for one in score]
    taken: list[int] = []
    while len(taken) < min(n, len(score)):
        left = [row for row in range(len(score)) if row not in taken]

        def worth(row: int) -> float:
            alike = max((likeness[row, other] for other in taken), default=0.0)
            return balance * relevance[row] - (1 - balance) * alike

        taken.append(min(left, key=lambda row: (-worth(row), docid[row])))
    return taken


@pytest.mark.parametrize("balance", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 4, 40])
def test_it_takes_what_a_naive_walk_takes(balance: float, n: int) -> None:
    rng = np.random.default_rng(3)
    sizes = [1, 7, 0, 30, 12]
    query = np.repeat(np.arange(len(sizes)), sizes)
    vectors = rng.standard_normal((len(query), 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # Ties of scores, copies of vectors.
    score = rng.integers(0, 9, len(query)).astype(np.float64) * 10 - 40
    vectors[10], vectors[20] = vectors[9], vectors[21]
    docid = rng.permutation(len(query))
    survivors = rng.random(len(query)) < 0.8
    survivors[query == 3] = True
    score[np.flatnonzero(query == 3)[4]] = np.nan
    likeness = np.round(vectors @ vectors.T, 6)

    preference = diverse.mmr(
        query, score, docid, survivors, lambda a, b: likeness[a, b], n=n, balance=balance
    )
    for number in range(len(sizes)):
        rows = np.flatnonzero((query == number) & survivors & ~np.isnan(score))
        if not len(rows):
            continue
        expected = naive(
            score[rows].tolist(), docid[rows].tolist(), likeness[np.ix_(rows, rows)], n, balance
        )
        order = sorted(range(len(rows)), key=lambda at: (-preference[rows[at]], docid[rows[at]]))
        assert order[: len(expected)] == expected
        # What is not reached follows by score.
        rest = [score[rows[at]] for at in order[len(expected) :]]
        assert rest == sorted(rest, reverse=True)
    assert np.isnan(preference[~survivors | np.isnan(score)]).all()


def test_nothing_is_taken_of_nothing() -> None:
    empty = np.empty(0, dtype=np.int64)
    found = diverse.mmr(
        empty, np.empty(0), empty, np.empty(0, bool), lambda a, b: np.empty(0), n=3, balance=0.5
    )
    assert len(found) == 0

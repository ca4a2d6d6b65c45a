"""The order of a run's rows: ranks are believed where there are any, scores where they fit them.

trec_eval sorts by score and does not read ranks. Engines that write ranks alone fill the scores
with a constant, others write distances, of which the lowest is the best: sorted by score, the first
come out in the order of their ids and the second upside down. So the rank decides, the score where
ranks are equal or missing, and a run in which the two disagree is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.table.ranking import group_starts


@dataclass(frozen=True)
class Order:
    """How a run's rows are ordered.

    Attributes:
        rows: the rows from each query's best on, by query.
        scored: whether the scores order anything; else they are left out.
        told: what the user should know, or None.
    """

    rows: np.ndarray
    scored: bool
    told: str | None = None


def order(
    query: np.ndarray, rank: np.ndarray | None, score: np.ndarray | None, docid: np.ndarray
) -> Order:
    """Order the rows of a run.

    Args:
        query: number of each row's query.
        rank: its rank, or None where the run tells none.
        score: its score, higher is better, or None likewise.
        docid: codes that compare as the documents' ids do.

    Raises:
        ValueError: neither ranks nor scores tell one document of a query from another.
    """
    if rank is None and score is None:
        raise ValueError("it has neither ranks nor scores")
    descending = -score if score is not None else np.zeros(len(query))
    if rank is not None:
        rows = np.lexsort((docid, descending, rank, query))
        steps = _steps(query, rows)
        later = rank[rows[1:]] > rank[rows[:-1]]
        if (steps & later).any():
            return _by_rank(query, rows, score, steps & later)
        if score is None and steps.any():
            raise ValueError("its ranks are all the same, and it has no scores")
        if score is None:
            return Order(rows, scored=False)
    rows = np.lexsort((docid, descending, query))
    steps = _steps(query, rows)
    assert score is not None
    if not steps.any() or (steps & (score[rows[1:]] != score[rows[:-1]])).any():
        return Order(rows, scored=True)
    # The lines are in query order or not: a stable sort keeps them as they come.
    return Order(
        np.argsort(query, kind="stable"),
        scored=False,
        told="its scores are all the same, and it has no ranks: the order of the lines counts, the "
        "scores are left out",
    )


def _steps(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Neighbours of one query, bool [n - 1]."""
    same: np.ndarray = query[rows[1:]] == query[rows[:-1]]
    return same


def _by_rank(
    query: np.ndarray, rows: np.ndarray, score: np.ndarray | None, steps: np.ndarray
) -> Order:
    """The order of the ranks, and what the scores say about it.

    Args:
        query: number of each row's query.
        rows: the rows by rank.
        score: the scores.
        steps: neighbours of one query with different ranks.
    """
    if score is None:
        return Order(rows, scored=False)
    ordered = score[rows]
    falls = steps & (ordered[1:] < ordered[:-1])
    rises = steps & (ordered[1:] > ordered[:-1])
    if not falls.any() and not rises.any():
        told = "its scores are all the same: its ranks are believed, the scores are left out"
        return Order(rows, scored=False, told=told)
    if rises.sum() > falls.sum():
        told = (
            "its scores rise from rank to rank, as distances do: its ranks are believed, the "
            "scores are left out"
        )
        return Order(rows, scored=False, told=told)
    if not rises.any():
        return Order(rows, scored=True)
    at_odds = len(np.unique(query[rows[1:]][rises]))
    told = (
        f"its scores do not fall from rank to rank in {at_odds} of {len(group_starts(query[rows]))}"
        " queries: its ranks are believed"
    )
    return Order(rows, scored=True, told=told)

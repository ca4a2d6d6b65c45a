"""What layouts of one example per query share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.formats.base import Chosen


@dataclass(frozen=True)
class PerQuery:
    """The queries that have a positive and enough negatives, each with its rows.

    Attributes:
        query: the queries, ascending [e].
        positive: rows of their positives, query after query.
        positive_offsets: where each query's positives begin and the last end [e + 1].
        negative: rows of their negatives, in the order chosen.
        negative_offsets: where each query's negatives begin and the last end [e + 1].
    """

    query: np.ndarray
    positive: np.ndarray
    positive_offsets: np.ndarray
    negative: np.ndarray
    negative_offsets: np.ndarray


def counts(chosen: Chosen, query: np.ndarray) -> np.ndarray:
    """How many of the rows ``query`` each query has."""
    return np.bincount(query, minlength=len(chosen.qids))


def left_out(chosen: Chosen, used: np.ndarray) -> int:
    """How many queries are not among ``used``."""
    return len(chosen.qids) - len(np.unique(used))


def per_query(chosen: Chosen, fewest_negatives: int = 1) -> PerQuery:
    """The rows of every query with a positive and at least so many negatives."""
    positives = counts(chosen, chosen.positive_query)
    negatives = counts(chosen, chosen.negative_query)
    complete = (positives > 0) & (negatives >= fewest_negatives)
    query = np.flatnonzero(complete)
    return PerQuery(
        query=query,
        positive=np.flatnonzero(complete[chosen.positive_query]),
        positive_offsets=offsets(positives[query]),
        negative=np.flatnonzero(complete[chosen.negative_query]),
        negative_offsets=offsets(negatives[query]),
    )


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Where lists of these lengths begin, and the last ends."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)

"""What layouts of one example per query share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.formats.base import Chosen, Column, Options


@dataclass(frozen=True)
class PerQuery:
    """Examples of a query each, with the rows of their positives and negatives.

    Attributes:
        query: the query of each example, ascending [e].
        positive: rows of their positives, example after example.
        positive_offsets: where each example's positives begin and the last end [e + 1].
        negative: rows of their negatives, in the order chosen.
        negative_offsets: where each example's negatives begin and the last end [e + 1].
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


def per_query(chosen: Chosen) -> PerQuery:
    """An example per query with a positive and a negative, of all their rows."""
    positives = counts(chosen, chosen.positive_query)
    negatives = counts(chosen, chosen.negative_query)
    complete = (positives > 0) & (negatives > 0)
    query = np.flatnonzero(complete)
    return PerQuery(
        query=query,
        positive=np.flatnonzero(complete[chosen.positive_query]),
        positive_offsets=offsets(positives[query]),
        negative=np.flatnonzero(complete[chosen.negative_query]),
        negative_offsets=offsets(negatives[query]),
    )


def per_positive(chosen: Chosen) -> PerQuery:
    """An example per positive of a query with a negative: that one, and all the negatives."""
    negatives = counts(chosen, chosen.negative_query)
    positive = np.flatnonzero(negatives[chosen.positive_query] > 0)
    query = chosen.positive_query[positive]
    length = negatives[query]
    ends = offsets(length)
    within = np.arange(ends[-1]) - np.repeat(ends[:-1], length)
    return PerQuery(
        query=query,
        positive=positive,
        positive_offsets=np.arange(len(positive) + 1),
        negative=np.repeat(np.searchsorted(chosen.negative_query, query), length) + within,
        negative_offsets=ends,
    )


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Where lists of these lengths begin, and the last ends."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def measured(chosen: Chosen, options: Options, rows: PerQuery) -> list[Column]:
    """Lists beside the documents, ``pos_NAME`` and ``neg_NAME``: scores on request, extras."""
    found = []
    for m in chosen.measures("scores" if options.scores else None):
        found += [
            Column(f"pos_{m.name}", m.kind, m.positive[rows.positive], rows.positive_offsets),
            Column(f"neg_{m.name}", m.kind, m.negative[rows.negative], rows.negative_offsets),
        ]
    return found


def identified(
    chosen: Chosen, options: Options, rows: PerQuery, query: str = "query_id"
) -> list[Column]:
    """On request the ids: ``query``, and lists ``pos_id`` and ``neg_id``."""
    if not options.ids:
        return []
    positive, negative = chosen.positive_doc[rows.positive], chosen.negative_doc[rows.negative]
    return [
        Column(query, "query_id", rows.query),
        Column("pos_id", "doc_id", positive, rows.positive_offsets),
        Column("neg_id", "doc_id", negative, rows.negative_offsets),
    ]

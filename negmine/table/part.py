"""A part of the table: which rows belong to which query, positives, scores, ranks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from negmine.table.names import rank_column, score_column
from negmine.table.ranking import query_numbers
from negmine.table.schema import searched_names

#: Rank of a row that no source retrieved.
UNRANKED = np.iinfo(np.int32).max


def read_score(table: pa.Table, name: str, transform: str = "none") -> np.ndarray:
    """A score column as float64, NaN where it is null.

    Args:
        table: a part.
        name: the score's name.
        transform: ``sigmoid`` maps logits to (0, 1).
    """
    score = table.column(score_column(name)).to_numpy().astype(np.float64)
    return expit(score) if transform == "sigmoid" else score


def read_rank(table: pa.Table, source: str | None) -> np.ndarray:
    """A source's retrieval rank, or the best over all; :data:`UNRANKED` where there is none."""
    if source is None:
        return best_rank(table)
    return table.column(rank_column(source)).fill_null(UNRANKED).to_numpy()


def positive_scores(
    score: np.ndarray,
    positive: np.ndarray,
    starts: np.ndarray,
    against: str,
) -> np.ndarray:
    """Minimum, mean or maximum score of each query's positives, float64 [queries].

    NaN for a query without positives, and for one with a positive that has no score: a threshold
    is never guessed.
    """
    if len(starts) == 0:
        return np.empty(0)
    count = np.add.reduceat(positive.astype(np.int64), starts)
    if against == "min":
        found = np.minimum.reduceat(np.where(positive, score, np.inf), starts)
    elif against == "max":
        found = np.maximum.reduceat(np.where(positive, score, -np.inf), starts)
    else:
        total = np.add.reduceat(np.where(positive, score, 0.0), starts)
        found = total / np.maximum(count, 1)
    return np.where(count > 0, found, np.nan)


def queries_and_positives(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(number of each row's query in table order, True for known positives)."""
    return query_numbers(table.column("qid"))[0], table.column("label").to_numpy() == 1


def best_rank(table: pa.Table) -> np.ndarray:
    """Best rank over the sources that search; a row that none found has int32's maximum."""
    worst = np.iinfo(np.int32).max
    columns = [
        pc.fill_null(table.column(rank_column(name)), worst).to_numpy()
        for name in searched_names(table.schema)
    ]
    return np.minimum.reduce(columns)

"""What a score means within its query: the mean and the spread of the rows that are compared."""

from __future__ import annotations

import numpy as np


def moments(
    query: np.ndarray, value: np.ndarray, among: np.ndarray, queries: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row's query: the rows that are compared, their mean and their standard deviation.

    Args:
        query: number of each row's query.
        value: float64 [rows]; only what ``among`` names is read.
        among: True for the rows that are compared.
        queries: how many queries there are.

    Returns:
        (count, at least 1, int64 [rows]; mean, float64 [rows]; spread, float64 [rows]).
    """
    mine = query[among]
    count = np.maximum(np.bincount(mine, minlength=queries), 1)
    mean = (np.bincount(mine, value[among], minlength=queries) / count)[query]
    squares = np.bincount(mine, (value - mean)[among] ** 2, minlength=queries)
    return count[query], mean, np.sqrt(squares / count)[query]


def or_lowest(query: np.ndarray, value: np.ndarray, known: np.ndarray, queries: int) -> np.ndarray:
    """``value`` where it is known, else the lowest known of its query, 0 where none is.

    A source that did not retrieve a row would have scored it lower than all that it did.
    """
    lowest = np.full(queries, np.inf)
    np.minimum.at(lowest, query[known], value[known])
    return np.where(known, value, np.where(np.isfinite(lowest), lowest, 0.0)[query])

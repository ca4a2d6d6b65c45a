"""Negatives that differ from each other: maximal marginal relevance, greedily for all queries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from negmine.table.ranking import Codes, group_starts, rank_order

#: (rows, other rows) -> cosine of each pair.
Cosine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mmr(
    query: np.ndarray,
    score: np.ndarray,
    docid: np.ndarray | Codes,
    survivors: np.ndarray,
    cosine: Cosine,
    *,
    n: int,
    balance: float,
) -> np.ndarray:
    """Preference by maximal marginal relevance (Carbonell and Goldstein 1998).

    Of each query the row of the greatest ``balance * r - (1 - balance) * c`` is taken next: r is
    its relevance, c its greatest cosine with what is taken already (nothing at first). The paper's
    r is a cosine, too; ours is the place of the score between the lowest and the highest of the
    query's survivors, from 0 to 1, so that one balance suits any scorer. Rows beyond the first
    ``n`` follow by score.

    Args:
        query: query number of each row, ascending.
        score: what relevance is read from; a row without one (NaN) comes last.
        docid: codes that break ties.
        survivors: True for rows that may be taken.
        cosine: of pairs of rows.
        n: rows to choose of each query.
        balance: 1 = by score alone, 0 = by difference alone.
    """
    left = np.flatnonzero(survivors & ~np.isnan(score))
    relevance = within(query, score, left)
    preference = relevance.copy()
    like = np.zeros(len(query))
    last = np.full(int(query[-1]) + 1 if len(query) else 0, -1)
    for turn in range(n):
        if not len(left):
            break
        value = balance * relevance[left] - (1 - balance) * like[left]
        order = left[rank_order(query[left], value, docid, left)]
        taken = order[group_starts(query[order])]
        # All above the relevance of the others, which is at most 1.
        preference[taken] = n + 1 - turn
        last[query[taken]] = taken
        left = np.setdiff1d(left, taken, assume_unique=True)
        near = cosine(left, last[query[left]])
        like[left] = near if turn == 0 else np.maximum(like[left], near)
    return preference


def within(query: np.ndarray, score: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Place of each score between the lowest and the highest of its query's, 0 to 1.

    0 where all are the same, NaN for other rows.

    Args:
        query: query number of each row, ascending.
        score: of each row.
        rows: those that count, ascending.
    """
    found = np.full(len(query), np.nan)
    if not len(rows):
        return found
    starts = group_starts(query[rows])
    sizes = np.diff(np.append(starts, len(rows)))
    low = np.repeat(np.minimum.reduceat(score[rows], starts), sizes)
    high = np.repeat(np.maximum.reduceat(score[rows], starts), sizes)
    width = high - low
    found[rows] = (score[rows] - low) / np.where(width > 0, width, 1.0)
    return found

"""Rows that can never be negatives, whatever the settings, and queries that are given up."""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View, always


def positive(view: View, params: FilterParams) -> np.ndarray:
    """Known positives."""
    return view.positive & ~view.pseudo


def pseudo_positive(view: View, params: FilterParams) -> np.ndarray:
    """Candidates that the filter itself made positives (RocketQA, arXiv 2010.08191)."""
    return view.pseudo


def unscored(view: View, params: FilterParams) -> np.ndarray:
    """Rows that the scorer did not see (``rerank --top``, another source's candidates).

    None, where it saw no row of the whole table: then ranks stand for the score.
    """
    if view.unscored:
        return np.zeros(len(view.score), dtype=bool)
    return np.isnan(view.score)


def query_min_rank(view: View, params: FilterParams) -> np.ndarray:
    """Queries whose best positive scores below the candidate at rank N of the retriever.

    KaLM-Embedding (arXiv 2501.01028; its v1 code): ``max(p) < s(rank N)``, N = 50, in units of
    the score. Such a query's label is not to be trusted, or its negatives would mostly be better
    than the positive. A query without rank N, or without both scores, is kept.
    """
    assert params.query_min_rank is not None
    if len(view.starts) == 0:
        return np.empty(0, dtype=bool)
    at_rank = (view.rank == params.query_min_rank) & ~np.isnan(view.score)
    limit = np.maximum.reduceat(np.where(at_rank, view.score, -np.inf), view.starts)
    known = view.positive & ~np.isnan(view.score)
    best = np.maximum.reduceat(np.where(known, view.score, -np.inf), view.starts)
    given_up = np.isfinite(best) & (best < limit)
    return given_up[view.query]


IDENTITIES = (
    Rule("positive", always, positive, hard=True),
    Rule("pseudo_positive", lambda p: p.pseudo_positive is not None, pseudo_positive, hard=True),
)
QUERIES = (
    Rule("query_min_rank", lambda p: p.query_min_rank is not None, query_min_rank, hard=True),
)
SCORED = (Rule("unscored", always, unscored),)

"""Rows that are positives, and queries that are given up: no candidates, whatever the settings."""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Border, Rule, Scaled, View, always, comparing, given, leaving_out


def positive(view: View, params: FilterParams) -> np.ndarray:
    """Known positives."""
    return view.positive & ~view.pseudo


def pseudo_positive(view: View, params: FilterParams) -> np.ndarray:
    """Candidates that the filter itself made positives (RocketQA, arXiv 2010.08191)."""
    return view.pseudo


def query_min_rank(view: View, params: FilterParams) -> Border:
    """Queries whose best positive scores below the candidate at rank N of the retriever.

    KaLM-Embedding (arXiv 2501.01028; its v1 code): ``max(p) < s(rank N)``, N = 50, in units of
    the score. Such a query's label is not to be trusted, or its negatives would mostly be better
    than the positive. A query without rank N, or without both scores, is kept.
    """
    assert params.query_min_rank is not None
    if len(view.starts) == 0:
        return Border(np.empty(0), np.empty(0), "positive", above=False)
    at_rank = (view.rank == params.query_min_rank) & ~np.isnan(view.score)
    known = view.positive & ~np.isnan(view.score)
    limit = np.maximum.reduceat(np.where(at_rank, view.score, -np.inf), view.starts)
    best = np.maximum.reduceat(np.where(known, view.score, -np.inf), view.starts)
    limit, best = (np.where(np.isfinite(found), found, np.nan) for found in (limit, best))
    return Border(best[view.query], limit[view.query], "positive", above=False)


POSITIVES = (
    Rule("positive", always, positive, hard=True, words="known positives", rows="positives"),
    Rule(
        "pseudo_positive",
        given("pseudo_positive"),
        pseudo_positive,
        hard=True,
        words="taken as positives of queries without any",
        scores=True,
        others=given("pseudo_positive"),
        ranks="any",
        scaled=(Scaled("pseudo_positive"),),
        rows="positives",
    ),
)
QUERIES = (
    comparing(
        "query_min_rank",
        given("query_min_rank"),
        query_min_rank,
        hard=True,
        words="query given up: its positive scores too low",
        ways=leaving_out("query_min_rank"),
        scores=True,
        others=given("query_min_rank"),
        ranks="one",
    ),
)

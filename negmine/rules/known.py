"""Rows that are positives, and queries that are given up: no candidates, whatever the settings.

Which labels the filter changes is decided before the rules are asked
(:mod:`negmine.stages.filter.relabelling`); each change has its own word in ``dropped_by``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import (
    Border,
    Rule,
    Scaled,
    View,
    always,
    comparing,
    flag,
    given,
    leaving_out,
)
from negmine.rules.labels import BY_CONDITION, DEMOTED, GIVEN_UP, GIVEN_UP_POSITIVE, PSEUDO


def positive(view: View, params: FilterParams) -> np.ndarray:
    """Known positives."""
    return view.positive & ~view.promoted


def changed(name: str) -> Callable[[View, FilterParams], np.ndarray]:
    """The mask of the rows whose label the filter changed under this word."""

    def drop(view: View, params: FilterParams) -> np.ndarray:
        return view.changed.get(name, np.zeros(len(view.query), dtype=bool))

    return drop


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
    known = view.compared & ~np.isnan(view.score)
    limit = np.maximum.reduceat(np.where(at_rank, view.score, -np.inf), view.starts)
    best = np.maximum.reduceat(np.where(known, view.score, -np.inf), view.starts)
    limit, best = (np.where(np.isfinite(found), found, np.nan) for found in (limit, best))
    return Border(best[view.query], limit[view.query], "positive", above=False)


def _relabelled(word: str, option: str, words: str, **about: Any) -> Rule:
    """Rows whose label the conditions of an option changed, under one word in ``dropped_by``."""

    def asked(params: FilterParams) -> bool:
        return bool(getattr(params, option))

    return Rule(
        word,
        asked,
        changed(word),
        hard=True,
        words=words,
        switch=flag(option),
        others=asked,
        **about,
    )


POSITIVES = (
    Rule("positive", always, positive, hard=True, words="known positives", rows="positives"),
    Rule(
        PSEUDO,
        given("pseudo_positive"),
        changed(PSEUDO),
        hard=True,
        words="taken as positives of queries without any",
        scores=True,
        others=given("pseudo_positive"),
        ranks="any",
        scaled=(Scaled("pseudo_positive"),),
        rows="positives",
    ),
    _relabelled(
        BY_CONDITION, "promote", "made a positive", options=("promote_judged",), rows="positives"
    ),
    _relabelled(DEMOTED, "demote", "known positive that is none any more", rows="positives"),
    _relabelled(
        GIVEN_UP_POSITIVE,
        "drop_query",
        "known positive of a query that is given up",
        rows="positives",
    ),
)
QUERIES = (
    _relabelled(
        GIVEN_UP,
        "drop_query",
        "query given up by a condition",
        ways=leaving_out("drop_query", ()),
        advice=lambda params, everything: "these queries were given up, as --drop-query says",
    ),
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

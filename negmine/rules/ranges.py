"""Windows over the retrieval rank, and bounds on the score itself."""

from __future__ import annotations

import numpy as np

from negmine.errors import UsageError
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import (
    Border,
    Scaled,
    View,
    Way,
    comparing,
    constant,
    given,
    leaving_out,
    shortened,
)
from negmine.table import ranking
from negmine.table.names import LEARNED
from negmine.table.part import UNRANKED


def _rank(view: View) -> np.ndarray:
    """What a window compares: infinite where nothing was retrieved, NaN where it is not asked."""
    rank = np.where(view.rank == UNRANKED, np.inf, view.rank)
    return np.where(view.brought, np.nan, rank)


def range_min(view: View, params: FilterParams) -> Border:
    """Retrieved above rank ``range_min``.

    The rank is the retriever's and counts positives too; :func:`shift` counts non-positives only,
    and sentence-transformers' ``range_min`` is ``skip_survivors``.
    """
    assert params.range_min is not None
    return Border(_rank(view), constant(view, params.range_min), "rank", above=False)


def range_max(view: View, params: FilterParams) -> Border:
    """Retrieved below rank ``range_max``, or not retrieved at all by the source in question."""
    assert params.range_max is not None
    return Border(_rank(view), constant(view, params.range_max), "rank")


def shift(view: View, params: FilterParams) -> Border:
    """Among the first N non-positives of the retrieval ranking.

    NV-Retriever's "Top-K shifted by N" (arXiv 2407.15831; N = 10). Equal best ranks of several
    sources go by docid.
    """
    assert params.shift is not None
    rows = np.flatnonzero(~view.positive & (view.rank < UNRANKED))
    order = rows[ranking.rank_order(view.query[rows], -view.rank[rows], view.docid, rows)]
    place = np.full(len(view.query), np.nan)
    place[order] = ranking.positions_in_group(view.query[order])
    place = np.where(view.brought, np.nan, place)
    return Border(place, constant(view, params.shift), "place", above=False, strict=False)


def min_score(view: View, params: FilterParams) -> Border:
    """Scores below ``min_score``."""
    assert params.min_score is not None
    return Border(view.score, constant(view, params.min_score), above=False)


def max_score(view: View, params: FilterParams) -> Border:
    """``s > max_score``: NV-Retriever's TopK-Abs (arXiv 2407.15831; 0.7 on cosines)."""
    assert params.max_score is not None
    return Border(view.score, constant(view, params.max_score))


def _laxer_max_score(params: FilterParams, fit: Fit) -> list[Way]:
    """Twice the limit on a probability, which means the same everywhere; else no limit at all.

    Without its limit ``p_prior`` and ``p_relevant`` would keep nothing out that may be a positive.
    """
    if params.by not in LEARNED or params.max_score is None:
        return leaving_out("max_score")(params, fit)
    twice = float(f"{2 * params.max_score:.3g}")
    return [(f"--max-score {twice:g}", {"max_score": twice})] if 0 < twice < 1 else []


def _check_ranks(params: FilterParams) -> None:
    low, high = params.range_min, params.range_max
    if low is not None and high is not None and low > high:
        raise UsageError("--range-min is greater than --range-max: nothing would be left")


def _check_scores(params: FilterParams) -> None:
    low, high = params.min_score, params.max_score
    if low is not None and high is not None and low > high:
        raise UsageError("--min-score is greater than --max-score: nothing would be left")


RULES = (
    comparing(
        "range_min",
        given("range_min"),
        range_min,
        words="retrieved above the rank window",
        check=_check_ranks,
        ways=leaving_out("range_min"),
        tried=lambda scores: [1, 5, 10, 20, 30, 40],
        ranks="any",
    ),
    comparing(
        "range_max",
        given("range_max"),
        range_max,
        words="retrieved below the rank window",
        ways=leaving_out("range_max"),
        ranks="any",
    ),
    comparing(
        "shift",
        given("shift"),
        shift,
        words="among the first of the ranking",
        ways=leaving_out("shift"),
        ranks="any",
    ),
    comparing(
        "min_score",
        given("min_score"),
        min_score,
        words="scores too low",
        check=_check_scores,
        ways=leaving_out("min_score"),
        scores=True,
        scaled=(Scaled("min_score"),),
    ),
    comparing(
        "max_score",
        given("max_score"),
        max_score,
        words="scores too high",
        ways=_laxer_max_score,
        tried=lambda scores: shortened(np.quantile(scores, (0.5, 0.3, 0.2, 0.1, 0.05, 0.02))),
        scores=True,
        scaled=(Scaled("max_score"),),
    ),
)

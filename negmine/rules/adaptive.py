"""A limit from the query's own candidates: nothing is asked of a positive."""

from __future__ import annotations

import numpy as np

from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Border, View, Way, comparing, flag, given, leaving_out
from negmine.table.ranking import group_starts


def adaptive_threshold(view: View, params: FilterParams) -> Border:
    """``s > mean + K * deviation`` of the query's candidates.

    ATSS (arXiv 1912.02424) takes for positive what reaches the mean and the standard deviation of
    an object's own candidates (K = 1), so that each has its own limit; UNPG (arXiv 2203.11593) cuts
    the outliers of negatives likewise. Candidates are all that are no positives and have a score,
    whatever other rules say of them.
    """
    assert params.adaptive_threshold is not None
    mean, deviation = _moments(view.query, view.score, ~view.positive)
    limit = mean + params.adaptive_threshold * deviation
    return Border(view.score, limit[view.query])


def _moments(
    query: np.ndarray, score: np.ndarray, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of some rows' scores, per query; NaN where there are none.

    Told from the least of them, in rising order: equal scores have themselves for a mean, and the
    order of the rows changes no digit.
    """
    rows = np.flatnonzero(some & ~np.isnan(score))
    size = int(query[-1]) + 1 if len(query) else 0
    mean, deviation = np.full(size, np.nan), np.full(size, np.nan)
    rows = rows[np.lexsort((score[rows], query[rows]))]
    if not len(rows):
        return mean, deviation
    starts = group_starts(query[rows])
    counts = np.diff(np.append(starts, len(rows)))
    asked = query[rows][starts]
    least = score[rows][starts]
    apart = score[rows] - np.repeat(least, counts)
    middle = np.add.reduceat(apart, starts) / counts
    squares = np.add.reduceat((apart - np.repeat(middle, counts)) ** 2, starts)
    mean[asked], deviation[asked] = least + middle, np.sqrt(squares / counts)
    return mean, deviation


def _ways(params: FilterParams, fit: Fit) -> list[Way]:
    assert params.adaptive_threshold is not None
    more = params.adaptive_threshold + 0.5
    option = flag("adaptive_threshold")
    wider: Way = (f"{option} {more:g}", {"adaptive_threshold": more})
    return [wider, *leaving_out("adaptive_threshold")(params, fit)]


RULE = comparing(
    "adaptive_threshold",
    given("adaptive_threshold"),
    adaptive_threshold,
    words="far above the query's other candidates",
    ways=_ways,
    tried=lambda scores: [0.0, 0.5, 1.0, 1.5, 2.0, 3.0],
    scores=True,
    others=given("adaptive_threshold"),
)

"""A limit that does not depend on the score's scale: a share of the positive's own quantile."""

from __future__ import annotations

import numpy as np

from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Border, View, Way, comparing, given, leaving_out
from negmine.rules.margin import looser, positive_of_score


def percentile(view: View, params: FilterParams) -> Border:
    """Keeps ``u(s) <= max(share * u(p), floor)``, u = the ECDF of all positives' scores.

    ``u(x)`` is the share of known positives (of all queries) that score at most x, so the rule
    does not depend on the score's scale (share 0.01, floor 0.005). ``u`` rises at the positives'
    scores alone, so what exceeds a quantile is what scores at least as the first positive whose
    ``u`` does: that score is the limit.
    """
    assert params.percentile is not None
    known, p = view.fit.positive_scores, view.positive_score
    count = len(known)
    quantile = np.searchsorted(known, p, side="right") / max(1, count)
    allowed = np.maximum(params.percentile * quantile, params.percentile_floor)
    first = np.searchsorted(np.arange(1, count + 1) / max(1, count), allowed, side="right")
    limit = np.append(known, np.inf)[first]
    return Border(view.score, np.where(np.isnan(p), np.nan, limit), strict=False)


def _ways(params: FilterParams, fit: Fit) -> list[Way]:
    return [*looser(params, fit), *leaving_out("percentile")(params, fit)]


RULE = comparing(
    "percentile",
    given("percentile"),
    percentile,
    words="too high among all positives' scores",
    options=("percentile_floor",),
    ways=_ways,
    tried=lambda scores: [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05],
    scores=True,
    others=given("percentile"),
    fitted=True,
    positive=positive_of_score,
    below_positive=given("percentile"),
)

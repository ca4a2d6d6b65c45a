"""Reasons that depend on which rows are chosen: the stage asks them after all rules.

Their masks need the sampler's order, the weights or other queries' choices, so they are no
functions of a part's arrays alone (:mod:`negmine.stages.filter.deciding`).
"""

from __future__ import annotations

from negmine.dedup.copies import REPEATED
from negmine.errors import UsageError
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Reason, Way, given, leaving_out

#: How ``--diverse-by`` names a column of clusters.
CLUSTER = "cluster:"


def is_cluster(diverse_by: str | None) -> bool:
    """Whether ``--diverse-by`` names clusters, not vectors."""
    return diverse_by is not None and diverse_by.startswith(CLUSTER)


def _weighs(params: FilterParams) -> bool:
    return params.weight != "none"


def _once(params: FilterParams, fit: Fit) -> list[Way]:
    return [("--no-repeated-texts", {"repeated_texts": False})]


def _check_reuse(params: FilterParams) -> None:
    if params.fill_beyond is not None and params.max_reuse is not None:
        raise UsageError("--fill-beyond takes unchecked rows, which --max-reuse cannot count")


REPEATED_TEXT = Reason(
    REPEATED,
    lambda params: params.repeated_texts,
    hard=True,
    words="copy of a better candidate of the query",
    switch="--repeated-texts",
    options=("near_duplicate_at",),
    ways=_once,
)
REPEATED_CLUSTER = Reason(
    "repeated_cluster",
    lambda params: params.sampler == "diverse" and is_cluster(params.diverse_by),
    hard=True,
    words="in a cluster with a better candidate of the query",
    switch="--diverse-by",
    ways=lambda params, fit: [("--sampler top", {"sampler": "top", "diverse_by": None})],
)
UNWEIGHTED = Reason(
    "unweighted",
    _weighs,
    words="without a weight: the second model did not see it",
    switch="--weight",
    ways=leaving_out("weight", "none"),
)
WEIGHTLESS = Reason(
    "weightless",
    _weighs,
    words="weight 0: counts nothing as a negative",
    switch="--weight",
    ways=leaving_out("weight", "none"),
)
SKIP_SURVIVORS = Reason(
    "skip_survivors",
    given("skip_survivors"),
    words="among the best-scoring survivors",
    ways=leaving_out("skip_survivors"),
    tried=lambda scores: [1, 2, 4, 8, 16],
)
MAX_REUSE = Reason(
    "max_reuse",
    given("max_reuse"),
    words="document serves enough queries already",
    check=_check_reuse,
    ways=leaving_out("max_reuse"),
)

REASONS = (UNWEIGHTED, WEIGHTLESS, REPEATED_TEXT, SKIP_SURVIVORS, REPEATED_CLUSTER, MAX_REUSE)

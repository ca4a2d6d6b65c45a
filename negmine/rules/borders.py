"""Where each numeric rule draws its line: what ``report`` reads of a ledger.

The rules themselves only say who is dropped. Here is the number that they compared and the limit,
per row, so that the rows on both sides of a line can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import View
from negmine.table.part import UNRANKED


@dataclass(frozen=True)
class Border:
    """The line of one rule.

    Attributes:
        value: what the rule compared, float64 [n]; NaN where it had nothing to compare.
        limit: what it compared with, float64 [n].
        unit: ``score``, ``rank``, ``guide`` or ``quantile``: what both are numbers of.
        above: whether rows beyond the limit are those above it.
    """

    value: np.ndarray
    limit: np.ndarray
    unit: str
    above: bool = True

    @property
    def distance(self) -> np.ndarray:
        """How far beyond the limit each row lies, negative on the side that is kept."""
        return self.value - self.limit if self.above else self.limit - self.value


def borders(view: View, params: FilterParams) -> dict[str, Border]:
    """The borders of the active rules that compare numbers, by the rule's name."""
    n = len(view.query)
    p = view.positive_score
    rank = np.where(view.rank == UNRANKED, np.nan, view.rank).astype(np.float64)
    found: dict[str, Border] = {}

    def constant(value: float) -> np.ndarray:
        return np.full(n, float(value))

    if params.range_min is not None:
        found["range_min"] = Border(rank, constant(params.range_min), "rank", above=False)
    if params.range_max is not None:
        found["range_max"] = Border(rank, constant(params.range_max), "rank")
    if params.min_score is not None:
        found["min_score"] = Border(view.score, constant(params.min_score), "score", above=False)
    if params.max_score is not None:
        found["max_score"] = Border(view.score, constant(params.max_score), "score")
    if params.absolute_margin is not None:
        found["absolute_margin"] = Border(view.score, p - params.absolute_margin, "score")
    if params.relative_margin is not None:
        limit = p - params.relative_margin * np.abs(p)
        found["relative_margin"] = Border(view.score, limit, "score")
    if params.margin_pos is not None:
        found["margin_pos"] = Border(view.score, p - params.margin_pos, "score")
    if params.perc_pos is not None:
        limit = p - (1 - params.perc_pos) * np.abs(p)
        found["perc_pos"] = Border(view.score, limit, "score")
    if params.percentile is not None:
        found["percentile"] = _percentile(view, params)
    bound = view.fit.bound
    if bound is not None:
        limit = bound.thresholds[view.group]
        limit = limit if bound.form == "score" else p + limit
        found["max_fn_rate"] = Border(view.score, limit, "score")
    if params.guide is not None:
        unit = np.abs(view.positive_guide) if params.guide_margin_form == "relative" else 1.0
        limit = view.positive_guide - params.guide_margin * unit
        found["guide"] = Border(view.guide, limit, "guide")
    return found


def _percentile(view: View, params: FilterParams) -> Border:
    known = view.fit.positive_scores

    def quantile(values: np.ndarray) -> np.ndarray:
        found = np.searchsorted(known, values, side="right") / max(1, len(known))
        return np.where(np.isnan(values), np.nan, found)

    limit = np.fmax(params.percentile * quantile(view.positive_score), params.percentile_floor)
    return Border(quantile(view.score), limit, "quantile")

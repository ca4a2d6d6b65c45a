"""The bound on the share of positives that pass: see :mod:`negmine.learning.calibration`."""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Border, View, comparing, given


def max_fn_rate(view: View, params: FilterParams) -> Border:
    """``s >= t`` or ``s - p >= t`` with the calibrated t of the row's group.

    A score equal to the threshold is dropped, so ties make the bound conservative.
    """
    bound = view.fit.bound
    assert bound is not None
    limit = bound.thresholds[view.group]
    if bound.form == "score":
        return Border(view.score, limit, strict=False)
    p = view.positive_score
    return Border(view.score - p, limit, strict=False, origin=p)


def _positive(view: View, params: FilterParams) -> np.ndarray | None:
    bound = view.fit.bound
    return view.positive_score if bound is not None and bound.form == "margin" else None


RULE = comparing(
    "max_fn_rate",
    given("max_fn_rate"),
    max_fn_rate,
    words="above the calibrated threshold",
    options=("fn_form", "bias_from"),
    advice=lambda params, everything: (
        f"a --max-fn-rate above {params.max_fn_rate or 0:g} keeps more"
    ),
    tried=lambda scores: [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01],
    scores=True,
    others=given("max_fn_rate"),
    fitted=True,
    positive=_positive,
)

"""The bound on the share of positives that pass: see :mod:`negmine.learning.calibration`."""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View


def max_fn_rate(view: View, params: FilterParams) -> np.ndarray:
    """``s >= t`` or ``s - p >= t`` with the calibrated t of the row's group.

    A score equal to the threshold is dropped, so ties make the bound conservative.
    """
    bound = view.fit.bound
    assert bound is not None
    value = view.score if bound.form == "score" else view.score - view.positive_score
    return value >= bound.thresholds[view.group]


RULES = (Rule("max_fn_rate", lambda p: p.max_fn_rate is not None, max_fn_rate),)

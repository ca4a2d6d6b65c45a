"""Positive-aware margins: a candidate that scores near the positive is probably one.

NV-Retriever (arXiv 2407.15831) calls them TopK-MarginPos and TopK-PercPos; the comparison at the
threshold itself is sentence-transformers' (a score equal to the threshold is kept).
"""

from __future__ import annotations

import numpy as np

from negmine.params import FilterParams
from negmine.rules.base import Rule, View


def no_positive_score(view: View, params: FilterParams) -> np.ndarray:
    """Candidates of queries whose positives have no score: a margin has nothing to hold on to."""
    return np.isnan(view.positive_score)


def absolute_margin(view: View, params: FilterParams) -> np.ndarray:
    """``s > p - margin``, in units of the score."""
    assert params.absolute_margin is not None
    return view.score > view.positive_score - params.absolute_margin


def relative_margin(view: View, params: FilterParams) -> np.ndarray:
    """``s > p - margin * |p|``: with the absolute value the margin stays below a negative p."""
    assert params.relative_margin is not None
    return view.score > view.positive_score - params.relative_margin * np.abs(view.positive_score)


def _any(params: FilterParams) -> bool:
    return params.absolute_margin is not None or params.relative_margin is not None


RULES = (
    Rule("no_positive_score", _any, no_positive_score),
    Rule("absolute_margin", lambda p: p.absolute_margin is not None, absolute_margin),
    Rule("relative_margin", lambda p: p.relative_margin is not None, relative_margin),
)

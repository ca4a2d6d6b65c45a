"""Rows that can never be negatives, whatever the settings."""

from __future__ import annotations

import numpy as np

from negmine.params import FilterParams
from negmine.rules.base import Rule, View


def positive(view: View, params: FilterParams) -> np.ndarray:
    """Known positives."""
    return view.positive


def unscored(view: View, params: FilterParams) -> np.ndarray:
    """Rows that the scorer did not see (``rerank --top``, another source's candidates)."""
    return np.isnan(view.score)


def always(params: FilterParams) -> bool:
    """Active with any settings."""
    return True


RULES = (Rule("positive", always, positive), Rule("unscored", always, unscored))

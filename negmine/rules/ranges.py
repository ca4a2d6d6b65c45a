"""Windows over the retrieval rank, and bounds on the score itself."""

from __future__ import annotations

import numpy as np

from negmine.params import FilterParams
from negmine.rules.base import Rule, View


def range_min(view: View, params: FilterParams) -> np.ndarray:
    """Retrieved above rank ``range_min``.

    The rank is the retriever's and counts positives too; sentence-transformers' ``range_min``
    counts what is left after filtering instead.
    """
    assert params.range_min is not None
    return view.rank < params.range_min


def range_max(view: View, params: FilterParams) -> np.ndarray:
    """Retrieved below rank ``range_max``, or not retrieved at all by the source in question."""
    assert params.range_max is not None
    return view.rank > params.range_max


def min_score(view: View, params: FilterParams) -> np.ndarray:
    """Scores below ``min_score``."""
    assert params.min_score is not None
    return view.score < params.min_score


def max_score(view: View, params: FilterParams) -> np.ndarray:
    """Scores above ``max_score`` (NV-Retriever's TopK-Abs, arXiv 2407.15831)."""
    assert params.max_score is not None
    return view.score > params.max_score


RULES = (
    Rule("range_min", lambda p: p.range_min is not None, range_min),
    Rule("range_max", lambda p: p.range_max is not None, range_max),
    Rule("min_score", lambda p: p.min_score is not None, min_score),
    Rule("max_score", lambda p: p.max_score is not None, max_score),
)

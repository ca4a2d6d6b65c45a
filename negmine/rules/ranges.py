"""Windows over the retrieval rank, and bounds on the score itself."""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View
from negmine.table import ranking
from negmine.table.part import UNRANKED


def range_min(view: View, params: FilterParams) -> np.ndarray:
    """Retrieved above rank ``range_min``.

    The rank is the retriever's and counts positives too; :func:`shift` counts non-positives only,
    and sentence-transformers' ``range_min`` is ``skip_survivors``.
    """
    assert params.range_min is not None
    return ~view.brought & (view.rank < params.range_min)


def range_max(view: View, params: FilterParams) -> np.ndarray:
    """Retrieved below rank ``range_max``, or not retrieved at all by the source in question."""
    assert params.range_max is not None
    return ~view.brought & (view.rank > params.range_max)


def shift(view: View, params: FilterParams) -> np.ndarray:
    """Among the first N non-positives of the retrieval ranking.

    NV-Retriever's "Top-K shifted by N" (arXiv 2407.15831; N = 10). Equal best ranks of several
    sources go by docid.
    """
    assert params.shift is not None
    rows = np.flatnonzero(~view.positive & (view.rank < UNRANKED))
    order = rows[ranking.rank_order(view.query[rows], -view.rank[rows], view.docid, rows)]
    dropped = np.zeros(len(view.query), dtype=bool)
    dropped[order] = ranking.positions_in_group(view.query[order]) <= params.shift
    return dropped & ~view.brought


def min_score(view: View, params: FilterParams) -> np.ndarray:
    """Scores below ``min_score``."""
    assert params.min_score is not None
    return view.score < params.min_score


def max_score(view: View, params: FilterParams) -> np.ndarray:
    """``s > max_score``: NV-Retriever's TopK-Abs (arXiv 2407.15831; 0.7 on cosines)."""
    assert params.max_score is not None
    return view.score > params.max_score


RULES = (
    Rule("range_min", lambda p: p.range_min is not None, range_min),
    Rule("range_max", lambda p: p.range_max is not None, range_max),
    Rule("shift", lambda p: p.shift is not None, shift),
    Rule("min_score", lambda p: p.min_score is not None, min_score),
    Rule("max_score", lambda p: p.max_score is not None, max_score),
)

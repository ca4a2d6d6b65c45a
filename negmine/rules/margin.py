"""Positive-aware rules: a candidate that scores near the positive is probably one.

p is the query's positives' score (``against``: their minimum unless said otherwise), s the
candidate's. ``absolute_margin`` and ``relative_margin`` compare as sentence-transformers does (a
score equal to the threshold is kept), ``margin_pos`` and ``perc_pos`` as NV-Retriever's paper
(arXiv 2407.15831) does (it is dropped).
"""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View


def no_positive_score(view: View, params: FilterParams) -> np.ndarray:
    """Candidates of queries whose positives have no score: a margin has nothing to hold on to."""
    missing = np.zeros(len(view.query), dtype=bool)
    bound = view.fit.bound
    if _reads_positive(params) or (bound is not None and bound.form == "margin"):
        missing |= np.isnan(view.positive_score)
    if params.guide is not None:
        missing |= np.isnan(view.positive_guide)
    return missing


def absolute_margin(view: View, params: FilterParams) -> np.ndarray:
    """``s > p - margin``, in units of the score.

    With a margin of -0.1 it is the mask of Qwen3-Embedding: only what beats the positive by more
    than 0.1 is dropped.
    """
    assert params.absolute_margin is not None
    return view.score > view.positive_score - params.absolute_margin


def relative_margin(view: View, params: FilterParams) -> np.ndarray:
    """``s > p - margin * |p|``: with the absolute value the margin stays below a negative p."""
    assert params.relative_margin is not None
    return view.score > view.positive_score - params.relative_margin * np.abs(view.positive_score)


def margin_pos(view: View, params: FilterParams) -> np.ndarray:
    """NV-Retriever's TopK-MarginPos keeps ``s < p - m``, in units of the score (m = 0.05)."""
    assert params.margin_pos is not None
    return view.score >= view.positive_score - params.margin_pos


def perc_pos(view: View, params: FilterParams) -> np.ndarray:
    """NV-Retriever's TopK-PercPos keeps ``s < f * p`` (f = 0.95).

    Written ``s < p - (1 - f) * |p|``, which is the same for p >= 0 and lies below a negative p
    too. A percentage has no meaning on logits, whose zero is arbitrary; the stage refuses them.
    """
    assert params.perc_pos is not None
    p = view.positive_score
    return view.score >= p - (1 - params.perc_pos) * np.abs(p)


def percentile(view: View, params: FilterParams) -> np.ndarray:
    """Keeps ``u(s) <= max(share * u(p), floor)``, u = the ECDF of all positives' scores.

    ``u(x)`` is the share of known positives (of all queries) that score at most x, so the rule
    does not depend on the score's scale (share 0.01, floor 0.005).
    """
    assert params.percentile is not None
    known = view.fit.positive_scores

    def quantile(values: np.ndarray) -> np.ndarray:
        return np.searchsorted(known, values, side="right") / max(1, len(known))

    limit = np.maximum(params.percentile * quantile(view.positive_score), params.percentile_floor)
    return quantile(view.score) > limit


def unscored_guide(view: View, params: FilterParams) -> np.ndarray:
    """Rows that the guide did not see."""
    return np.isnan(view.guide)


def guide(view: View, params: FilterParams) -> np.ndarray:
    """A guide model puts the candidate above the positive: ``g(q,d) > g(q,d+) - m``.

    GISTEmbed (arXiv 2402.16829) with m = 0; sentence-transformers' two margins are ``g - m`` and
    ``g * (1 - m)``, the latter written ``g - m * |g|``. The paper's further masks between the
    pairs of a training batch cannot be decided offline.
    """
    margin = params.guide_margin
    if params.guide_margin_form == "relative":
        return view.guide > view.positive_guide - margin * np.abs(view.positive_guide)
    return view.guide > view.positive_guide - margin


def _reads_positive(params: FilterParams) -> bool:
    return any(
        value is not None
        for value in (
            params.absolute_margin,
            params.relative_margin,
            params.margin_pos,
            params.perc_pos,
            params.percentile,
        )
    )


def _may_read_positive(params: FilterParams) -> bool:
    return _reads_positive(params) or params.guide is not None or params.max_fn_rate is not None


RULES = (
    Rule("no_positive_score", _may_read_positive, no_positive_score),
    Rule("absolute_margin", lambda p: p.absolute_margin is not None, absolute_margin),
    Rule("relative_margin", lambda p: p.relative_margin is not None, relative_margin),
    Rule("margin_pos", lambda p: p.margin_pos is not None, margin_pos),
    Rule("perc_pos", lambda p: p.perc_pos is not None, perc_pos),
    Rule("percentile", lambda p: p.percentile is not None, percentile),
    Rule("unscored_guide", lambda p: p.guide is not None, unscored_guide),
    Rule("guide", lambda p: p.guide is not None, guide),
)

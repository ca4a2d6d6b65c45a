"""Positive-aware rules: a candidate that scores near the positive is probably one.

p is the query's positives' score (``against``: their minimum unless said otherwise), s the
candidate's. ``absolute_margin`` and ``relative_margin`` compare as sentence-transformers does (a
score equal to the threshold is kept), ``margin_pos`` and ``perc_pos`` as NV-Retriever's paper
(arXiv 2407.15831) does (it is dropped).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Border, Scaled, View, Way, comparing, flag, given, shortened


def absolute_margin(view: View, params: FilterParams) -> Border:
    """``s > p - margin``, in units of the score.

    With a margin of -0.1 it is the mask of Qwen3-Embedding: only what beats the positive by more
    than 0.1 is dropped.
    """
    assert params.absolute_margin is not None
    return Border(view.score, view.positive_score - params.absolute_margin)


def relative_margin(view: View, params: FilterParams) -> Border:
    """``s > p - margin * |p|``: with the absolute value the margin stays below a negative p."""
    assert params.relative_margin is not None
    p = view.positive_score
    return Border(view.score, p - params.relative_margin * np.abs(p))


def margin_pos(view: View, params: FilterParams) -> Border:
    """NV-Retriever's TopK-MarginPos keeps ``s < p - m``, in units of the score (m = 0.05)."""
    assert params.margin_pos is not None
    return Border(view.score, view.positive_score - params.margin_pos, strict=False)


def perc_pos(view: View, params: FilterParams) -> Border:
    """NV-Retriever's TopK-PercPos keeps ``s < f * p`` (f = 0.95).

    Written ``s < p - (1 - f) * |p|``, which is the same for p >= 0 and lies below a negative p
    too. A percentage has no meaning on logits, whose zero is arbitrary; the stage refuses them.
    """
    assert params.perc_pos is not None
    p = view.positive_score
    return Border(view.score, p - (1 - params.perc_pos) * np.abs(p), strict=False)


def positive_of_score(view: View, params: FilterParams) -> np.ndarray:
    """What margins hold on to."""
    return view.positive_score


def looser(params: FilterParams, fit: Fit) -> list[Way]:
    """Compare with a query's higher positives; not where a bound on the margin was calibrated."""
    if fit.bound is not None and fit.bound.form == "margin":
        return []
    others = {"min": ("max", "mean"), "mean": ("max",), "max": ()}[params.against]
    return [(f"--against {how}", {"against": how}) for how in others]


def _halved(option: str) -> Callable[[FilterParams, Fit], list[Way]]:
    def ways(params: FilterParams, fit: Fit) -> list[Way]:
        value = getattr(params, option)
        found = looser(params, fit)
        if value is not None and value > 0:
            found.append((f"{flag(option)} {value / 2:.3g}", {option: value / 2}))
        return found

    return ways


def _nearer(params: FilterParams, fit: Fit) -> list[Way]:
    assert params.perc_pos is not None
    nearer = round(1 - (1 - params.perc_pos) / 2, 6)
    return [*looser(params, fit), (f"--perc-pos {nearer:g}", {"perc_pos": nearer})]


def _too_wide(option: str) -> Callable[[FilterParams, bool], str]:
    def advice(params: FilterParams, everything: bool) -> str:
        value = getattr(params, option)
        if not everything or value is None or value <= 0:
            return ""
        # Half of it was tried, and was still too much.
        return (
            f"{flag(option)} {value:g} leaves next to nothing of these scores (negmine explain "
            "shows them): leave it out, or give one of their size"
        )

    return advice


def _spreads(scores: np.ndarray) -> list[float]:
    """Parts of the range that the middle half of the positives' scores takes."""
    spread = float(np.subtract(*np.quantile(scores, (0.75, 0.25))))
    return shortened(spread * np.array([0, 0.125, 0.25, 0.5, 0.75, 1, 1.5]))


_WORDS = "too near to the positive's score, or above it"

RULES = (
    comparing(
        "absolute_margin",
        given("absolute_margin"),
        absolute_margin,
        words=_WORDS,
        ways=_halved("absolute_margin"),
        advice=_too_wide("absolute_margin"),
        tried=_spreads,
        form=lambda params: "margin",
        scores=True,
        positive=positive_of_score,
        below_positive=lambda p: p.absolute_margin is not None and p.absolute_margin >= 0,
        scaled=(Scaled("absolute_margin", difference=True),),
    ),
    comparing(
        "relative_margin",
        given("relative_margin"),
        relative_margin,
        words=_WORDS,
        ways=_halved("relative_margin"),
        advice=_too_wide("relative_margin"),
        tried=lambda scores: [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7],
        form=lambda params: "relative",
        scores=True,
        positive=positive_of_score,
        below_positive=lambda p: p.relative_margin is not None and p.relative_margin >= 0,
    ),
    comparing(
        "margin_pos",
        given("margin_pos"),
        margin_pos,
        words=_WORDS,
        ways=_halved("margin_pos"),
        advice=_too_wide("margin_pos"),
        form=lambda params: "margin",
        scores=True,
        positive=positive_of_score,
        below_positive=given("margin_pos"),
        scaled=(Scaled("margin_pos", difference=True),),
    ),
    comparing(
        "perc_pos",
        given("perc_pos"),
        perc_pos,
        words=_WORDS,
        ways=_nearer,
        form=lambda params: "relative",
        scores=True,
        positive=positive_of_score,
        below_positive=given("perc_pos"),
        no_logits="Add --transform sigmoid, take a cosine with --by, or use --margin-pos.",
    ),
)

"""A second model that is asked whether the candidate beats the positive."""

from __future__ import annotations

from typing import Literal

import numpy as np

from negmine.errors import UsageError
from negmine.learning.fit import Fit
from negmine.params.filter import FilterParams
from negmine.rules.base import Border, Scaled, View, Way, comparing, given, leaving_out
from negmine.rules.margin import looser


def guide(view: View, params: FilterParams) -> Border:
    """A guide model puts the candidate above the positive: ``g(q,d) > g(q,d+) - m``.

    GISTEmbed (arXiv 2402.16829) with m = 0; sentence-transformers' two margins are ``g - m`` and
    ``g * (1 - m)``, the latter written ``g - m * |g|``. The paper's further masks between the
    pairs of a training batch cannot be decided offline.
    """
    g, margin = view.positive_guide, params.guide_margin
    limit = g - margin * np.abs(g) if params.guide_margin_form == "relative" else g - margin
    return Border(view.guide, limit, "guide")


def _positive(view: View, params: FilterParams) -> np.ndarray:
    return view.positive_guide


def _form(params: FilterParams) -> Literal["margin", "relative"]:
    return "relative" if params.guide_margin_form == "relative" else "margin"


def _check(params: FilterParams) -> None:
    if params.guide_margin_form == "relative" and params.guide_margin > 1:
        raise UsageError(
            f"--guide-margin must be at most 1, not {params.guide_margin:g}: with "
            "--guide-margin-form relative it is a share of the positive's guide score",
            hint=f"If {params.guide_margin:g} percent is meant, write "
            f"{params.guide_margin / 100:g}; or --guide-margin-form absolute.",
        )


def _ways(params: FilterParams, fit: Fit) -> list[Way]:
    return [*looser(params, fit), *leaving_out("guide")(params, fit)]


def _absolute(params: FilterParams) -> bool:
    return params.guide is not None and params.guide_margin_form == "absolute"


RULE = comparing(
    "guide",
    given("guide"),
    guide,
    words="the guide puts it above the positive",
    options=("guide_margin", "guide_margin_form"),
    check=_check,
    ways=_ways,
    form=_form,
    positive=_positive,
    below_positive=given("guide"),
    scaled=(Scaled("guide_margin", difference=True, score="guide", when=_absolute),),
)

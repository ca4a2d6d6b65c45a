"""Negatives of an earlier round that have become easy, by the scores of now (Conan)."""

from __future__ import annotations

import numpy as np

from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View, given, leaving_out
from negmine.table.part import UNRANKED


def solved(view: View, params: FilterParams) -> np.ndarray:
    """Earlier negatives with ``factor * s_now < s_first`` and ``|s_now| < below``.

    Conan-embedding (arXiv 2408.15710): 1.15 and 0.8. ``s_first`` is the score of the round in which
    the negative was chosen first; a row without one is no earlier negative, or nothing is known of
    it, and stays. Every row has a limit of its own, so that none is shown of the query.
    """
    easy = (params.solved_factor * view.score < view.first) & (
        np.abs(view.score) < params.solved_below
    )
    return easy & (view.earlier < UNRANKED)


RULE = Rule(
    "solved",
    given("replace_solved"),
    solved,
    # It can be a negative, but it gave its place away: nothing may fill up with it.
    hard=True,
    words="negative of an earlier round that has become easy",
    switch="--replace-solved",
    options=("solved_factor", "solved_below"),
    ways=leaving_out("replace_solved"),
    scores=True,
)

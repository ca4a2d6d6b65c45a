"""Rows without a number that another rule reads: nothing is guessed, they are dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from negmine.errors import UsageError
from negmine.params.filter import FilterParams
from negmine.rules.base import Rule, View, always, given


def unscored(view: View, params: FilterParams) -> np.ndarray:
    """Rows that the scorer did not see, or of which it could not tell.

    Such are those beyond ``rerank --top``, another source's candidates, and what a judge gave no
    verdict of. Those are left of which another column says that they need no score: where a cheap
    model screens, what it screened out is no false negative by its word.

    None, where it saw no row of the whole table: then ranks stand for the score.
    """
    if view.unscored:
        return np.zeros(len(view.score), dtype=bool)
    return np.isnan(view.score) & ~view.cleared


def _check(params: FilterParams) -> None:
    """The bound counts the positives that pass by their score, not those that pass without one."""
    if params.keep_unscored is not None and params.max_fn_rate is not None:
        raise UsageError(
            "--keep-unscored: what passes without a score is not counted by --max-fn-rate",
            hint="Bound the score that all rows have (--by), or take a limit on the score instead, "
            "such as --max-score or --relative-margin.",
        )


def unscored_guide(view: View, params: FilterParams) -> np.ndarray:
    """Rows that the guide did not see."""
    return np.isnan(view.guide)


def no_positive_score(comparing: Sequence[Rule]) -> Rule:
    """Candidates of queries whose positives have no score: a margin has nothing to hold on to.

    Args:
        comparing: the rules that may compare with a positive's score.
    """

    def asked(params: FilterParams) -> list[Rule]:
        return [rule for rule in comparing if rule.positive is not None and rule.active(params)]

    def drop(view: View, params: FilterParams) -> np.ndarray:
        missing = np.zeros(len(view.query), dtype=bool)
        for rule in asked(params):
            known = None if rule.positive is None else rule.positive(view, params)
            if known is not None:
                missing |= np.isnan(known)
        return missing

    return Rule(
        "no_positive_score",
        lambda params: bool(asked(params)),
        drop,
        words="query's positive has no score",
        advice=lambda params, everything: (
            "their positives have no score to compare with: take a score that they have (--by)"
        ),
        rows="unjudged",
    )


SCORE = Rule(
    "unscored",
    always,
    unscored,
    words="not seen or not judged by the scorer",
    check=_check,
    advice=lambda params, everything: (
        "score those rows too (rerank without --top, or a larger one), take a score that all rows "
        "have (--by), or say which of them are fine without one (--keep-unscored, where rerank "
        "--only-if screened them out)"
    ),
    rows="unjudged",
)
GUIDE = Rule(
    "unscored_guide",
    given("guide"),
    unscored_guide,
    words="not seen by the guide",
    advice=lambda params, everything: "score those rows with the guide too, or leave --guide out",
    rows="unjudged",
)

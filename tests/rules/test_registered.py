"""What rules say of themselves holds together: options exist, ways and values can be given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from negmine import rules
from negmine.errors import UsageError
from negmine.learning.fit import Fit
from negmine.params import FilterParams, values

FIELDS = {field.name for field in dataclasses.fields(FilterParams)}
#: Settings that ask for every rule that an option switches on.
ASKED = FilterParams(
    **{"range_min": 1, "range_max": 9, "shift": 1, "query_min_rank": 2, "skip_survivors": 1},
    **{"min_score": 0.1, "max_score": 0.9, "absolute_margin": 0.1, "relative_margin": 0.1},
    **{"margin_pos": 0.1, "perc_pos": 0.9, "percentile": 0.5, "guide": "g", "max_fn_rate": 0.1},
    **{"window": ("a=:3",), "consensus": ("a", "b"), "adaptive_threshold": 1.0},
    **{
        "answers": "answers",
        "require_numbers": "asked",
        "max_reuse": 2,
        "weight": "dclr",
        "near_duplicate_cosine": ("a=0.9",),
    },
    **{"same_cluster": ("c",), "sampler": "diverse", "diverse_by": "cluster:c"},
    **{"closer_than_positive": ("a",), "exclude": "x", "chunk_suffix": "#", "pseudo_positive": 0.9},
    **{"promote": ("a > 1",), "demote": ("a < 0",), "drop_query": ("promoted > 8",)},
    replace_solved="previous",
)


def test_reasons_have_names_of_their_own() -> None:
    names = [reason.name for reason in rules.REASONS]
    assert len(set(names)) == len(names)
    assert all(reason.active(ASKED) for reason in rules.REASONS)


@pytest.mark.parametrize("reason", rules.REASONS, ids=lambda reason: reason.name)
def test_options_and_ways_are_parameters(reason: rules.Reason) -> None:
    assert reason.option.startswith("--")
    assert set(reason.options) <= FIELDS
    for told, changes in reason.ways(ASKED, Fit()):
        assert told
        assert set(changes) <= FIELDS
        assert dataclasses.replace(ASKED, **changes) != ASKED
    if isinstance(reason, rules.Rule):
        assert {scaled.option for scaled in reason.scaled} <= FIELDS
        assert {scaled.score for scaled in reason.scaled} <= {None, *FIELDS}


def test_what_a_sweep_tries_can_be_given() -> None:
    scores = np.random.default_rng(0).normal(size=100)
    tried = {reason.name: reason.tried(scores) for reason in rules.REASONS if reason.tried}
    assert {"relative_margin", "percentile", "range_min", "skip_survivors"} <= set(tried)
    for name, numbers in tried.items():
        for number in numbers:
            assert getattr(values.build(FilterParams, {}, {name: number}), name) == number


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range_min": 5, "range_max": 4}, "--range-min is greater"),
        ({"min_score": 0.5, "max_score": 0.4}, "--min-score is greater"),
        ({"guide": "g", "guide_margin": 5.0, "guide_margin_form": "relative"}, "at most 1"),
        ({"closer_than_positive": ("a",), "percentile": 0.5}, "keeps what --percentile drops"),
        ({"closer_than_positive": ("a",), "guide": "g"}, "keeps what --guide drops"),
        ({"fill_beyond": 5, "max_reuse": 2}, "--max-reuse cannot count"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rules.check(FilterParams(**options))  # type: ignore[arg-type]


def test_a_margin_that_keeps_what_beats_the_positive_contradicts_nothing() -> None:
    rules.check(FilterParams(closer_than_positive=("a",), absolute_margin=-0.1))


def test_scales_know_every_number_of_a_score() -> None:
    """Margins and levels; shares, quantiles and ranks have ranges of their own."""
    told = {scaled.option for rule in rules.RULES for scaled in rule.scaled}
    endless = {"min_score", "max_score", "absolute_margin", "margin_pos", "pseudo_positive"}
    assert told == {*endless, "guide_margin"}

"""What is learned of a table is the same in any division into parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.errors import InvalidDataError, UsageError
from negmine.learning import passes, prior, relevance, stored
from negmine.learning.fit import Fit
from negmine.params import FilterParams

QUERIES, ROWS = 60, 8


def made(seed: int) -> pa.Table:
    """Queries with no to three positives, two sources and a scorer that did not see every row."""
    rng = np.random.default_rng(seed)
    n = QUERIES * ROWS
    known = np.repeat(rng.integers(0, 4, QUERIES), ROWS) > np.tile(np.arange(ROWS), QUERIES)
    mess = rng.permutation(ROWS * QUERIES).argsort()
    rank = np.concatenate([rng.permutation(ROWS) + 1 for _ in range(QUERIES)]).astype(np.int32)
    dense = np.concatenate([rng.permutation(ROWS) + 1 for _ in range(QUERIES)]).astype(np.int32)
    score = (known + rng.normal(0, 0.7, n)).astype(np.float32)
    judged = known | (rng.random(n) < 0.2)
    return pa.table(
        {
            "qid": np.repeat([f"q{i:03d}" for i in range(QUERIES)], ROWS),
            "docid": [f"d{i}" for i in mess],
            "label": pa.array(known.astype(np.int8)),
            "grade": pa.array(known.astype(np.float64), mask=~judged),
            "rank_bm25": pa.array(rank, mask=rng.random(n) < 0.2),
            "score_bm25": pa.array(-rank.astype(np.float32)),
            "rank_tiny": pa.array(dense, mask=rng.random(n) < 0.2),
            "score_tiny": pa.array((1 / dense).astype(np.float32)),
            "score_ce": pa.array(score, mask=rng.random(n) < 0.1),
            "kind": pa.array([f"k{i % 3}" if i % 5 else None for i in range(n)]),
        }
    )


def divided(table: pa.Table, cuts: list[int]) -> list[pa.Table]:
    """The table cut behind some of its queries."""
    places = [0, *sorted({ROWS * cut for cut in cuts}), table.num_rows]
    return [table.slice(a, b - a) for a, b in pairwise(places)]


CUTS = st.lists(st.integers(1, QUERIES - 1), max_size=6)
SETTINGS: dict[str, dict[str, Any]] = {
    "percentile": {"percentile": 0.4},
    "difficulty": {"difficulty": True, "against": "mean"},
    "score": {"max_fn_rate": 0.2, "fn_form": "score"},
    "margin": {"max_fn_rate": 0.2, "fn_form": "margin"},
    "auto": {"max_fn_rate": 0.3},
    "groups": {"max_fn_rate": 0.4, "calibrate_by": "kind"},
    "ranks": {"max_fn_rate": 0.5, "calibrate_by": "rank_bm25"},
    "bias": {"max_fn_rate": 0.3, "bias_from": ("bm25", "tiny")},
    "all": {"percentile": 0.4, "difficulty": True, "max_fn_rate": 0.3, "relative_margin": 0.1},
}


def learned(parts: list[pa.Table], params: FilterParams, through: Callable[[Any], Any]) -> Fit:
    """What is learned of parts whose summaries go ``through`` something."""

    def over(name: str, summarise: Callable[[pa.Table], Any]) -> list[Any]:
        return [through(summarise(part)) for part in parts]

    return passes.fit(over, QUERIES * ROWS, params, "ce")


def as_told(summary: Any) -> Any:
    return stored.read(json.loads(json.dumps(stored.told(summary))))


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=15)
@given(seed=st.integers(0, 3), cuts=CUTS)
def test_the_limits_are_those_of_the_undivided_table(name: str, seed: int, cuts: list[int]) -> None:
    table, params = made(seed), FilterParams(**SETTINGS[name])
    whole = learned([table], params, lambda one: one)
    found = learned(divided(table, cuts), params, as_told)
    assert stored.told(found) == stored.told(whole)
    known = np.sort(table.column("score_ce").filter(table.column("label").to_numpy() == 1))
    if params.percentile is not None:
        np.testing.assert_array_equal(found.positive_scores, known[~np.isnan(known)])


@settings(max_examples=15)
@given(seed=st.integers(0, 3), cuts=CUTS)
def test_what_p_relevant_and_p_prior_learn_from_is_the_same(seed: int, cuts: list[int]) -> None:
    table = made(seed).drop_columns("kind")
    taught = [relevance.taught(part, table.num_rows, 1) for part in divided(table, cuts)]
    for name, values in relevance.taught(table, table.num_rows, 1).items():
        np.testing.assert_array_equal(np.concatenate([one[name] for one in taught]), values)
    whole, parts = prior.anchor([table]), prior.anchor(divided(table, cuts))
    assert parts.facts["positives"] == whole.facts["positives"]
    # Sums of parts are added up.
    assert parts.z_positives == pytest.approx(whole.z_positives, rel=1e-12)


def test_nothing_is_gone_over_where_nothing_is_learned() -> None:
    assert passes.fit(None, 1, FilterParams(), "ce") == Fit()  # type: ignore[arg-type]


def test_each_round_goes_over_the_table_once() -> None:
    """Ranges, quantiles, margins and the bound in one round, the form of the bound in another."""
    rounds: list[str] = []

    def over(name: str, summarise: Callable[[pa.Table], Any]) -> list[Any]:
        rounds.append(name)
        return [summarise(part) for part in divided(made(0), [20, 40])]

    asked = {**SETTINGS["all"], "against": "min"}
    passes.fit(over, QUERIES * ROWS, FilterParams(**asked), "tiny", {"--x": "y"})
    assert rounds == ["limits", "form"]


def test_the_first_option_that_suits_no_logits_is_named() -> None:
    parts = passes.of_tables(divided(made(0), [30]))
    options = {"--one": "Mend it.", "--other": ""}
    params = FilterParams(percentile=0.4)
    with pytest.raises(UsageError, match=r"--one: score 'bm25' runs from -8 to -1") as told:
        passes.fit(parts, QUERIES * ROWS, params, "bm25", options)
    assert told.value.hint == "Mend it."
    nothing = passes.of_tables([made(0).filter(np.zeros(QUERIES * ROWS, dtype=bool))])
    with pytest.raises(InvalidDataError, match="no positive has a score 'ce'"):
        passes.fit(nothing, 0, params, "ce")


@pytest.mark.parametrize("options", [{"--one": ""}, {}])
def test_of_no_rows_at_all_nothing_is_learned(options: dict[str, str]) -> None:
    """A table whose parts are all empty gives no summaries."""
    nothing = passes.of_tables([])
    with pytest.raises(InvalidDataError, match="no positive has a score 'ce'"):
        passes.fit(nothing, 0, FilterParams(percentile=0.4), "ce", options)
    with pytest.raises(InvalidDataError, match="no candidates to learn it from"):
        passes.fit(nothing, 0, FilterParams(max_fn_rate=0.1), "ce", options)
    with pytest.raises(InvalidDataError, match="no candidates to learn it from"):
        relevance.learn([], 0)
    assert not len(passes.fit(nothing, 0, FilterParams(difficulty=True), "ce", options).margins)

"""A rule's limit lies where the rule itself says that it does."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from negmine import rules
from negmine.learning.calibration import Bound
from negmine.learning.fit import Fit
from negmine.params import FilterParams
from negmine.rules import borders
from negmine.table import schemas

CASES = [
    FilterParams(range_min=4),
    FilterParams(range_max=6),
    FilterParams(shift=2),
    FilterParams(query_min_rank=2),
    FilterParams(min_score=-0.5),
    FilterParams(max_score=0.5),
    FilterParams(absolute_margin=0.25),
    FilterParams(relative_margin=0.5),
    FilterParams(margin_pos=0.25),
    FilterParams(perc_pos=0.75),
    FilterParams(percentile=0.5, against="max"),
    FilterParams(guide="g", guide_margin=0.25),
    FilterParams(guide="g", guide_margin=0.5, guide_margin_form="relative"),
    FilterParams(max_fn_rate=0.1),
    FilterParams(max_fn_rate=0.1, against="mean"),
]


def part(seed: int) -> pa.Table:
    """Scores are quarters, so that some rows lie exactly on a limit."""
    rng = np.random.default_rng(seed)
    n = 60
    score = np.round(rng.normal(size=n) * 4) / 4
    rank = rng.integers(1, 12, n)
    schema = schemas.with_scores(schemas.candidates(["bm25"]), ["ce", "g"])
    return pa.table(
        {
            "qid": [f"q{i // 10}" for i in range(n)],
            "docid": [f"d{i}" for i in range(n)],
            "label": [int(i % 10 in (0, 1)) for i in range(n)],
            "grade": [None] * n,
            "rank_bm25": [None if i % 7 == 0 else int(r) for i, r in enumerate(rank)],
            "score_bm25": [None] * n,
            "score_ce": [None if i % 11 == 5 else float(s) for i, s in enumerate(score)],
            "score_g": np.round(rng.normal(size=n) * 4) / 4,
        },
        schema=schema,
    )


@pytest.mark.parametrize("form", ["score", "margin"])
@pytest.mark.parametrize("params", CASES)
def test_dropped_rows_lie_beyond_the_limit_and_kept_rows_before_it(
    params: FilterParams, form: str
) -> None:
    bound = Bound(form, np.array([0.25]), ("",)) if params.max_fn_rate else None  # type: ignore[arg-type]
    seen = 0
    for seed in range(4):
        table = part(seed)
        positive = table.filter(pa.array(table.column("label").to_numpy() == 1))
        known = np.sort(positive.column("score_ce").drop_null().to_numpy().astype(np.float64))
        fit = Fit(positive_scores=known, bound=bound)
        view = rules.view(table, params, "ce", None, fit=fit)
        found = borders(view, params)
        ((name, border),) = found.items()
        (rule,) = [rule for rule in rules.RULES if rule.name == name]
        dropped = rule.drop(view, params)
        distance = border.distance
        told = ~np.isnan(distance)
        np.testing.assert_array_equal(dropped, border.beyond)
        assert (distance[dropped & told] >= 0).all()
        assert (distance[~dropped & told] <= 0).all()
        seen += int((dropped & told).sum())
        # Nothing is on both sides: rows off the line are told by the sign alone.
        off = told & (distance != 0)
        np.testing.assert_array_equal(dropped[off], distance[off] > 0)
    assert seen

"""The conformal bound: by hand, its error, and that it holds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from negmine.errors import UsageError
from negmine.learning import calibration, passes
from negmine.learning.calibration import Bound, Positives
from negmine.params import FilterParams


@pytest.mark.parametrize(
    ("alpha", "n", "k"), [(0.05, 19, 1), (0.05, 39, 2), (0.1, 9, 1), (0.1, 20, 2), (0.5, 4, 2)]
)
def test_one_positive_per_query_gives_the_kth_smallest(alpha: float, n: int, k: int) -> None:
    assert k == int(alpha * (n + 1) + 1e-9)
    scores = np.random.default_rng(0).permutation(np.arange(float(n)))
    found = calibration.threshold(scores, np.arange(n), alpha)
    assert found is not None
    assert found.value == k - 1
    assert found.achieved == pytest.approx((k - 1) / n)


def test_too_few_queries() -> None:
    assert calibration.threshold(np.arange(18.0), np.arange(18), 0.05) is None
    assert [calibration.needed(a) for a in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)] == [99, 19, 9, 4, 3, 1]
    for alpha in np.linspace(0.01, 0.99, 99):
        n = calibration.needed(float(alpha))
        assert calibration.threshold(np.arange(float(n)), np.arange(n), float(alpha)) is not None


def test_several_positives_share_a_vote() -> None:
    """n = 4, alpha = 0.5: the votes below t may add up to 0.5 * 5 - 1 = 1.5."""
    score = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    query = np.array([0, 0, 1, 2, 3, 3])
    # Below 3: 1.0 (query 0); below 4: 2.0.
    found = calibration.threshold(score, query, 0.5)
    assert found is not None
    assert (found.value, found.queries, found.positives) == (3.0, 4, 6)
    assert found.achieved == pytest.approx(0.25)


def test_ties_are_conservative() -> None:
    """k = 2, but the second smallest ties with the third: both lie at the threshold, not below."""
    found = calibration.threshold(np.array([1.0, 2.0, 2.0, 3.0]), np.arange(4), 0.5)
    assert found is not None
    assert found.value == 2.0
    assert found.achieved == 0.25


def test_leave_one_out() -> None:
    score = np.array([3.0, 1.0, 2.0, 7.0, np.nan, 5.0])
    query = np.array([0, 0, 0, 1, 2, 2])
    nan = np.nan
    for against, expected in (
        ("min", [1.0, 2.0, 1.0, nan, nan, nan]),
        ("max", [2.0, 3.0, 3.0, nan, nan, nan]),
        ("mean", [1.5, 2.5, 2.0, nan, nan, nan]),
    ):
        found = calibration.leave_one_out(score, query, against)
        assert found == pytest.approx(expected, nan_ok=True)


def positives(score: np.ndarray, **changes: np.ndarray) -> Positives:
    n = len(score)
    given = {
        "query": np.arange(n),
        "score": score,
        "margin": np.full(n, np.nan),
        "usable": np.ones(n, dtype=bool),
        "group": np.zeros(n, dtype=np.int64),
        "choosing": np.zeros(n, dtype=bool),
    }
    return Positives(**(given | changes))


def test_the_error_says_how_many_are_needed() -> None:
    with pytest.raises(UsageError, match=r"needs at least 19 queries .* has 5") as caught:
        calibration.calibrate(positives(np.arange(5.0)), "score", 0.05, ("",), "ce")
    assert "0.167" in str(caught.value)
    group = np.array([0] * 10 + [1] * 3)
    with pytest.raises(UsageError, match="in group rare"):
        calibration.calibrate(
            positives(np.arange(13.0), group=group), "score", 0.1, ("common", "rare"), "ce"
        )


def test_positives_that_no_source_found_do_not_calibrate() -> None:
    usable = np.arange(12) >= 3
    bound = calibration.calibrate(
        positives(np.arange(12.0), usable=usable), "score", 0.1, ("",), "ce"
    )
    assert bound.thresholds.tolist() == [3.0]
    assert bound.facts["positives_not_retrieved"] == 3
    assert bound.facts["queries"] == 9


def test_the_bound_holds_over_random_draws() -> None:
    """Several positives a query, correlated within it: mean survival over 400 splits <= alpha."""
    rng = np.random.default_rng(1)
    queries = 200
    count = rng.integers(1, 6, queries)
    query = np.repeat(np.arange(queries), count)
    score = rng.normal(size=queries)[query] + 0.5 * rng.normal(size=len(query))
    for alpha in (0.05, 0.1, 0.2):
        survival = []
        for _ in range(400):
            calibrating = rng.permutation(queries) < 100
            mine = calibrating[query]
            found = calibration.threshold(score[mine], query[mine], alpha)
            assert found is not None
            passed = (score[~mine] < found.value).astype(float)
            per_query = np.bincount(query[~mine], passed, queries)[~calibrating]
            survival.append((per_query / count[~calibrating]).mean())
        error = np.std(survival) / np.sqrt(len(survival))
        assert np.mean(survival) <= alpha + 3 * error
        # And it is not bought by dropping everything.
        assert np.mean(survival) >= alpha - 0.02


def table(queries: int, positives_each: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    rows = positives_each + 4
    n = queries * rows
    label = np.tile(np.arange(rows) < positives_each, queries)
    # Queries differ far more than positives and negatives of one query do.
    level = np.repeat(rng.normal(0, 10, queries), rows)
    return pa.table(
        {
            "qid": np.repeat([f"q{i:03d}" for i in range(queries)], rows),
            "docid": [f"d{i}" for i in range(n)],
            "label": pa.array(label.astype(np.int8)),
            "grade": pa.nulls(n, pa.float64()),
            "rank_bm25": pa.array(np.tile(np.arange(1, rows + 1), queries).astype(np.int32)),
            "score_bm25": pa.array((level + 3 * label + rng.normal(size=n)).astype(np.float32)),
        }
    )


def bound_of(whole: pa.Table, params: FilterParams) -> Bound:
    bound = passes.fit(passes.of_tables([whole]), whole.num_rows, params, "bm25").bound
    assert bound is not None
    return bound


def test_auto_takes_the_margin_where_that_keeps_more() -> None:
    several = table(200, 3)
    params = FilterParams(max_fn_rate=0.1)
    bound = bound_of(several, params)
    assert bound.form == "margin"
    # A fifth of the queries chose the form and do not calibrate.
    assert 140 <= bound.facts["queries"] <= 180
    forced = bound_of(several, FilterParams(max_fn_rate=0.1, fn_form="score"))
    assert (forced.form, forced.facts["queries"]) == ("score", 200)
    # Without two positives there is no margin to calibrate, and no query is spent on choosing.
    single = bound_of(table(200, 1), params)
    assert (single.form, single.facts["queries"]) == ("score", 200)


def test_groups_have_their_own_threshold() -> None:
    one = table(60, 2)
    params = FilterParams(max_fn_rate=0.2, calibrate_by="rank_bm25", fn_form="score")
    grade = np.where(one.column("label").to_numpy() == 1, 1, 0) + np.repeat([0, 1], 180)
    graded = one.set_column(3, "grade", pa.array(grade.astype(np.float64)))
    with pytest.raises(UsageError, match="in group 0"):
        bound_of(graded, FilterParams(max_fn_rate=0.2, calibrate_by="grade"))
    # Rank 1 and rank 2 hold a positive of every query, ranks 3 to 6 none: they count together.
    bound = bound_of(one, params)
    assert bound.groups == ("up to 1", "up to 10")
    assert len(bound.thresholds) == 2

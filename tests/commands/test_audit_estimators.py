"""The estimates of an audit by sample, against what others compute and against known truths."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from negmine.commands.audit.sampled import drawing
from negmine.commands.audit.sampled.estimators import (
    Rate,
    Stratum,
    corrected,
    finite_interval,
    stratified,
    tells_apart,
    with_unknown,
)


@pytest.mark.parametrize(
    ("hits", "read", "size"), [(0, 10, 100), (3, 40, 200), (10, 10, 10), (5, 5, 60), (17, 90, 700)]
)
def test_the_exact_interval_is_that_of_the_hypergeometric_distribution(
    hits: int, read: int, size: int
) -> None:
    counts = np.arange(size + 1)
    fits = stats.hypergeom.sf(hits - 1, size, counts, read) > 0.025
    fits &= stats.hypergeom.cdf(hits, size, counts, read) > 0.025
    expected = counts[fits].min() / size, counts[fits].max() / size
    assert finite_interval(hits, read, size) == pytest.approx(expected)


def test_of_many_it_is_clopper_and_pearsons() -> None:
    low, high = finite_interval(7, 400, 10**8)
    exact = stats.binomtest(7, 400).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), rel=1e-4)


def population(rng: np.random.Generator, size: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(truth, verdict) of negatives, the judge wrong in a way that is no chance."""
    truth = rng.random(size) < rate
    verdict = np.where(truth, rng.random(size) < 0.5, rng.random(size) < 0.3)
    return truth, verdict.astype(np.int64)


def draw(rng: np.random.Generator, verdict: np.ndarray, total: int) -> list[np.ndarray]:
    """Rows of each stratum, drawn as an audit does: so many of each."""
    number = drawing.allocate(np.array([(verdict == 0).sum(), (verdict == 1).sum(), 0]), total)
    return [
        rng.choice(np.flatnonzero(verdict == h), int(number[h]), replace=False) for h in range(2)
    ]


def test_the_stratified_estimate_is_the_prediction_powered_one() -> None:
    """Written out row by row: the judge's mean, and what the read ones add to it."""
    rng = np.random.default_rng(1)
    truth, verdict = population(rng, 3000, 0.1)
    rows = draw(rng, verdict, 250)
    strata = [
        Stratum(int((verdict == h).sum()), len(rows[h]), int(truth[rows[h]].sum()))
        for h in range(2)
    ]
    weight = np.concatenate([np.full(len(rows[h]), strata[h].size / len(rows[h])) for h in (0, 1)])
    read = np.concatenate(rows)
    rectifier = (weight * (truth[read].astype(float) - verdict[read])).sum() / len(truth)
    assert stratified(strata).value == pytest.approx(verdict.mean() + rectifier)
    assert stratified(strata).value == pytest.approx((weight * truth[read]).sum() / len(truth))


@pytest.mark.parametrize("rate", [0.002, 0.03, 0.3])
def test_its_interval_holds_the_truth_as_often_as_it_says(rate: float) -> None:
    rng = np.random.default_rng(2)
    truth, verdict = population(rng, 2000, rate)
    held, alone, estimates = 0, 0, []
    for _ in range(300):
        rows = draw(rng, verdict, 200)
        found = stratified(
            [
                Stratum(int((verdict == h).sum()), len(rows[h]), int(truth[rows[h]].sum()))
                for h in range(2)
            ]
        )
        held += found.low <= truth.mean() <= found.high
        estimates.append(found.value)
        said = stats.binomtest(int(verdict[rng.permutation(2000)[:200]].sum()), 200)
        by_judge = said.proportion_ci(0.95, method="exact")
        alone += by_judge.low <= truth.mean() <= by_judge.high
    assert held / 300 >= 0.94
    # The judge alone, on as many rows, is as sure of what is wrong.
    assert alone / 300 < 0.9
    error = float(np.std(estimates)) / 300**0.5
    assert np.mean(estimates) == pytest.approx(truth.mean(), abs=3 * error)


def test_what_is_not_known_is_a_lower_and_an_upper_estimate() -> None:
    found = stratified([Stratum(100, 50, 10, unsure=5), Stratum(100, 0, 0)])
    assert (found.at_least, found.at_most) == pytest.approx((0.1, 0.65))
    assert found.value is None
    assert found.low < 0.1
    assert found.high > 0.65
    whole = with_unknown(stratified([Stratum(100, 100, 10)]), 0.2)
    assert (whole.at_least, whole.at_most) == pytest.approx((0.08, 0.28))


@pytest.mark.parametrize(
    ("theta", "sensitivity", "false", "sizes"),
    [
        (0.05, 0.8, 0.1, (1000, 100, 300)),
        (0.3, 0.5, 0.01, (500, 200, 200)),
        (0, 0.8, 0.02, (500, 100, 100)),
    ],
)
def test_rogan_and_gladens_estimate_holds_the_truth(
    theta: float, sensitivity: float, false: float, sizes: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(3)
    negatives, positives, others = sizes
    held, estimates = 0, []
    for _ in range(600):
        relevant = rng.random(negatives) < theta
        yes = rng.random(negatives) < np.where(relevant, sensitivity, false)
        found = corrected(
            Rate(float(yes.mean()), negatives),
            Rate(rng.binomial(positives, sensitivity) / positives, positives),
            Rate(rng.binomial(others, false) / others, others),
        )
        held += found.low <= theta <= found.high
        estimates.append(found.at_least)
    assert held / 600 >= 0.93
    assert np.mean(estimates) == pytest.approx(theta, abs=0.01)


def test_known_error_rates_leave_the_formula() -> None:
    known = float("inf")
    found = corrected(Rate(0.19, 1e9), Rate(0.9, known), Rate(0.1, known))
    assert found.value == pytest.approx((0.19 - 0.1) / (0.9 - 0.1))
    assert (found.low, found.high) == pytest.approx((found.value, found.value), abs=1e-3)


def test_a_judge_at_chance_is_told() -> None:
    assert not tells_apart(Rate(0.52, 60), Rate(0.48, 60))
    assert tells_apart(Rate(0.9, 60), Rate(0.1, 60))
    found = corrected(Rate(0.5, 100), Rate(0.52, 60), Rate(0.48, 60))
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("sizes", "total"),
    [([1000, 100, 0], 400), ([5, 3, 2], 400), ([10_000, 4, 50], 30), ([7], 3), ([50, 50, 50], 2)],
)
def test_an_allocation_draws_as_many_as_were_asked_for(sizes: list[int], total: int) -> None:
    number = drawing.allocate(np.array(sizes), total)
    assert number.sum() == min(total, sum(sizes))
    assert (number <= sizes).all()
    assert (number >= 0).all()


def test_the_first_rows_of_a_sheet_are_a_stratified_sample() -> None:
    rng = np.random.default_rng(4)
    size = 600
    stratum = (np.arange(size) % 3 == 0).astype(np.int8)
    columns = {
        "qid": [f"q{n}" for n in range(size)],
        "docid": ["d"] * size,
        "verdict": stratum,
        "stratum": stratum,
        "draw": rng.random(size),
        "part": ["part"] * size,
    }
    rows = drawing.smallest(pa.table(columns, schema=drawing.ROWS), 300)
    assert rows.num_rows == 500
    taken = drawing.drawn(rows, np.array([90, 60])).column("stratum").to_numpy()
    for first in (25, 50, 100, 150):
        assert (taken[:first] == 1).mean() == pytest.approx(0.4, abs=0.03)

"""What an examination says: intervals against other libraries, and coverage by simulation."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest, mannwhitneyu

from negmine.errors import InvalidDataError, UsageError
from negmine.scorers.base import Scores
from negmine.scorers.judging.columns import scores_of
from negmine.scorers.judging.examination import (
    FILLER,
    POSITIVE,
    RANDOM,
    Sample,
    area,
    check,
    examine,
    wilson,
)
from negmine.scorers.judging.verdicts import Judgement, unjudged


@pytest.mark.parametrize(("hits", "total"), [(0, 7), (3, 10), (60, 100), (100, 100), (1, 1)])
def test_shares_have_wilsons_interval(hits: int, total: int) -> None:
    found = wilson(hits, total)
    assert found is not None
    other = binomtest(hits, total).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=1e-6)
    assert wilson(0, 0) is None


def test_the_area_counts_ties_half() -> None:
    rng = np.random.default_rng(0)
    positive, other = rng.integers(0, 5, 40) / 4, rng.integers(0, 5, 70) / 4
    found = area(positive, other)
    assert found is not None
    assert found.value == pytest.approx(mannwhitneyu(positive, other).statistic / (40 * 70))
    assert area(positive, positive[:0]) is None


def test_its_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    # Near 1 it is somewhat wider than it need be.
    for separation, most in ((0.0, 0.97), (2.0, 0.99)):
        truth = NormalDist().cdf(separation / 2**0.5)
        inside = 0
        for _ in range(800):
            found = area(rng.normal(separation, 1, 30), rng.normal(0, 1, 30))
            assert found is not None
            inside += found.low <= truth <= found.high
        assert 0.93 <= inside / 800 <= most


def test_without_an_error_the_interval_has_a_width() -> None:
    found = area(np.ones(20), np.zeros(20))
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.8 < found.low < 1.0


class Judge:
    """One that says what it is told to, and other things when asked otherwise."""

    def __init__(self, usual: list[Judgement], swapped: list[Judgement]) -> None:
        self._usual, self._swapped = usual, swapped

    def ask(self, sample: Sample) -> Scores:
        return scores_of(self._usual)

    def otherwise(self) -> dict[str, object]:
        return {"document first": lambda sample: scores_of(self._swapped)}


def sample(*role: int) -> Sample:
    pairs = np.array([(0, d) for d in range(len(role))])
    return Sample(["q"], [f"d{d}" for d in range(len(role))], pairs, np.array(role))


def test_what_is_counted() -> None:
    asked = sample(POSITIVE, RANDOM, POSITIVE, RANDOM, POSITIVE, FILLER)
    usual = [Judgement(score) for score in (0.9, 0.1, 0.2, 0.8)]
    usual += [unjudged("truncated"), unjudged("low_mass", 0.01)]
    swapped = [Judgement(0.8), Judgement(0.7), *usual[2:]]
    found = examine(Judge(usual, swapped), asked)
    record = found.record()
    assert (record["positives"], record["random"]) == (3, 2)
    assert record["missed"][0] == pytest.approx(1 / 3, abs=1e-4)
    assert record["accepted"][0] == 0.5
    # What is unjudged is no error and no success: the area is of what was judged.
    assert record["auc"][0] == pytest.approx(3 / 4)
    # What only fills a call is not counted.
    assert record["reasons"] == {"truncated": 1}
    changed = record["otherwise"]["document first"]
    assert changed["verdicts_changed"][0] == pytest.approx(1 / 5)
    assert changed["mean_shift"] == pytest.approx((-0.1 + 0.6) / 4, abs=1e-4)
    assert not found.believed
    assert any("document first" in line for line in found.words("j"))


def test_who_is_believed() -> None:
    asked = sample(*[POSITIVE, RANDOM] * 30)
    right = [Judgement(0.9), Judgement(0.1)] * 30
    wrong = [Judgement(0.1), Judgement(0.9)] * 30
    silent = [unjudged("refused")] * 60
    check("j", examine(Judge(right, right), asked).record(), trusted=False)
    for said, why in ((wrong, "AUC is 0.000"), (silent, "it judged none of them")):
        record = examine(Judge(said, said), asked).record()
        with pytest.raises(InvalidDataError, match="no better than chance") as error:
            check("j", record, trusted=False)
        assert why in str(error.value)
        assert "--trust-anyway" in str(error.value)
        check("j", record, trusted=True)
    with pytest.raises(UsageError, match="examination"):
        check("j", None, trusted=False)
    nothing = examine(Judge([], []), sample()).record()
    with pytest.raises(InvalidDataError, match="cannot be examined"):
        check("j", nothing, trusted=False)


def test_columns_are_null_where_nothing_is_known() -> None:
    found = scores_of([Judgement(0.25), unjudged("not_finite", float("nan"))])
    assert found.column().to_pylist() == [0.25, None]
    assert found.columns["mass"].to_pylist() == [None, None]
    assert found.columns["verdict"] == pa.array(["no", "unjudged"])
    assert found.columns["reason"].to_pylist() == [None, "not_finite"]

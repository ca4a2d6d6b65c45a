"""The bound that --max-fn-rate promises, against a formula written anew, and on random splits."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.learning.calibration import needed, threshold
from tests.conftest import ROOT
from tests.tables import make_scored


def load() -> ModuleType:
    path = ROOT / "scripts" / "bench_conformal.py"
    spec = importlib.util.spec_from_file_location("bench_conformal", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    import sys

    sys.modules["bench_conformal"] = module
    spec.loader.exec_module(module)
    return module


bench = load()


def oracle(score: list[float], query: list[int], alpha: float) -> float | None:
    """The largest score t with sum_q L_q(t) + 1 <= alpha (n + 1), tried one by one."""
    queries = sorted(set(query))
    best = None
    for t in sorted(set(score)):
        loss = 0.0
        for q in queries:
            mine = [s for s, of in zip(score, query, strict=True) if of == q]
            loss += sum(s < t for s in mine) / len(mine)
        if loss + 1 <= alpha * (len(queries) + 1) + 1e-9:
            best = t
    return best


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8)), min_size=1, max_size=40),
    st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5]),
)
def test_the_threshold_is_the_formulas(pairs: list[tuple[int, int]], alpha: float) -> None:
    query = [q for q, _ in pairs]
    score = [float(s) for _, s in pairs]
    found = threshold(np.array(score), np.array(query), alpha)
    expected = oracle(score, query, alpha)
    assert (found is None) == (expected is None)
    assert found is None or found.value == expected


@pytest.mark.parametrize(("alpha", "n"), [(0.05, 19), (0.1, 9), (0.2, 4), (0.01, 99), (0.3, 3)])
def test_the_kth_smallest_and_how_many_are_needed(alpha: float, n: int) -> None:
    """One positive per query: k = floor(alpha (n + 1)); n is the fewest for k = 1."""
    assert needed(alpha) == n
    scores = np.arange(float(n))
    found = threshold(scores, np.arange(n), alpha)
    assert found is not None
    assert found.value == math.floor(alpha * (n + 1) + 1e-9) - 1
    assert threshold(scores[1:], np.arange(n - 1), alpha) is None


def rows(queries: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    found = []
    for q in range(queries):
        level = rng.normal()
        for d in range(int(rng.integers(1, 5))):
            score = level + rng.normal()
            found.append(
                {
                    "qid": f"q{q}",
                    "docid": f"d{q}_{d}",
                    "label": 1,
                    "grade": 1,
                    # What lies deeper scores lower, as real positives do.
                    "rank_bm25": max(1, round(30 - 6 * score)),
                    "score_bm25": score,
                    "score_ce": score,
                }
            )
        found.append({"qid": f"q{q}", "docid": "lost", "label": 1, "score_ce": -99.0})
    return found


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scored(tmp_path_factory.mktemp("t"), [rows(120)], sources=("bm25",))


def test_mean_survival_keeps_the_promise(scored: Path) -> None:
    found, facts = bench.run(scored, count=50, alphas=(0.05, 0.1, 0.2), seed=7)
    # The injected positives, which no source retrieved, neither calibrate nor count.
    assert facts["queries"] == 120
    assert {row.variant for row in found} == {"score", "one per query", "margin"}
    for row in found:
        assert row.impossible == 0
        assert row.holds(), row
        # Not by dropping everything: the bound is used.
        assert row.survival > row.alpha / 2, row


def test_too_few_positives_are_refused_not_guessed(scored: Path) -> None:
    found, facts = bench.run(scored, count=5, alphas=(0.001,))
    assert all(row.impossible == 5 for row in found)
    assert "refused: needs 999 queries" in bench.table(found, facts)


def test_biased_labels_break_the_promise(scored: Path) -> None:
    found, facts = bench.run(scored, count=50, alphas=(0.1,), biased="bm25")
    score = next(row for row in found if row.variant == "score")
    assert score.survival > 1.5 * score.alpha
    assert not score.holds()
    assert "**no**" in bench.table(found, facts)
    # Nothing but positives is in the table: the correction has nothing to learn from.
    refused = next(row for row in found if row.variant == "score, --bias-from")
    assert refused.impossible == 50


def with_others(queries: int) -> list[dict[str, Any]]:
    """The same, with ten irrelevant candidates a query."""
    rng = np.random.default_rng(5)
    found = rows(queries)
    for q in range(queries):
        for d, score in enumerate(rng.normal(-2.0, 1.0, 10).tolist()):
            found.append(
                {
                    "qid": f"q{q}",
                    "docid": f"n{q}_{d}",
                    "label": 0,
                    "rank_bm25": max(1, round(30 - 6 * score)),
                    "score_bm25": score,
                    "score_ce": score + rng.normal(),
                }
            )
    return sorted(found, key=lambda row: int(row["qid"][1:]))


def test_the_corrected_bound_keeps_the_promise_on_biased_labels(tmp_path: Path) -> None:
    scored = make_scored(tmp_path, [with_others(120)], sources=("bm25",))
    found, facts = bench.run(scored, count=50, alphas=(0.1, 0.2), biased="bm25")
    for alpha in (0.1, 0.2):
        plain, fixed = (
            next(row for row in found if (row.variant, row.alpha) == (variant, alpha))
            for variant in ("score", "score, --bias-from")
        )
        assert plain.survival > 1.5 * alpha
        assert 0 < fixed.survival <= 1.25 * alpha
        assert 0 < fixed.kept < plain.kept
    assert "calibrated on what bm25 ranks best" in bench.table(found, facts)
    found, facts = bench.run(scored, count=10, alphas=(0.2,), biased="bm25", at_random=True)
    assert {row.variant for row in found} == {"score", "score, --bias-from"}
    assert "calibrated on a random half" in bench.table(found, facts)

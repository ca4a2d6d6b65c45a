"""Every rule against numbers worked out by hand, and what holds for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine import rules
from negmine.learning.calibration import Bound
from negmine.learning.fit import Fit
from negmine.params import FilterParams
from negmine.stages.filter.deciding import judge
from negmine.stages.filter.options import Columns

INF = float("inf")


def part(
    scores: list[float | None],
    labels: list[int],
    ranks: list[int | None] | None = None,
    qids: list[str] | None = None,
    guide: list[float | None] | None = None,
    grades: list[int | None] | None = None,
    docids: list[str] | None = None,
) -> pa.Table:
    """A part of one source and two scorers."""
    n = len(scores)
    return pa.table(
        {
            "qid": pa.array(qids or ["q"] * n),
            "docid": pa.array(docids or [f"d{i}" for i in range(n)]),
            "label": pa.array(labels, pa.int8()),
            "grade": pa.array(grades or [None] * n, pa.float64()),
            "rank_bm25": pa.array(ranks or list(range(1, n + 1)), pa.int32()),
            "score_bm25": pa.array([float(n - i) for i in range(n)], pa.float32()),
            "score_guide": pa.array(guide or [0.0] * n, pa.float32()),
            "score_ce": pa.array(scores, pa.float32()),
        }
    )


def reasons(table: pa.Table, fit: Fit | None = None, **options: Any) -> list[str | None]:
    """``dropped_by`` of each row."""
    ledger, _ = judge(table, FilterParams(**options), Columns("ce", "ce"), fit=fit)
    found: list[str | None] = ledger.column("dropped_by").to_pylist()
    return found


def kept(table: pa.Table, fit: Fit | None = None, **options: Any) -> list[int]:
    """Rows that survive."""
    return [i for i, reason in enumerate(reasons(table, fit, **options)) if reason is None]


# Scores that float32 holds exactly, so that equality with a threshold is equality.
SCORES: list[float | None] = [0.5, 0.75, 0.5, 0.375, 0.25, None]
LABELS = [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        # sentence-transformers keeps a score at the threshold, NV-Retriever drops it.
        ({"absolute_margin": 0.125}, [3, 4]),
        ({"margin_pos": 0.125}, [4]),
        ({"relative_margin": 0.25}, [3, 4]),
        ({"perc_pos": 0.75}, [4]),
        # Qwen3: only what beats the positive by more than 0.1 goes.
        ({"absolute_margin": -0.1}, [2, 3, 4]),
        ({"max_score": 0.375}, [3, 4]),
        ({"min_score": 0.375}, [1, 2, 3]),
        ({"range_min": 3}, [2, 3, 4]),
        ({"range_max": 3}, [1, 2]),
        # The positive has rank 1: skipping two non-positives leaves ranks 4 and 5.
        ({"shift": 2}, [3, 4]),
        ({"skip_survivors": 1}, [2, 3, 4]),
        # What is skipped is counted after the rules: 0.75 is gone already, so 0.5 goes.
        ({"skip_survivors": 1, "max_score": 0.6}, [3, 4]),
    ],
)
def test_by_hand(options: dict[str, Any], expected: list[int]) -> None:
    assert kept(part(SCORES, LABELS), **options) == expected


def test_margins_below_a_negative_positive() -> None:
    """p = -2: 5% of |p| below it is -2.1, not -1.9."""
    table = part([-2.0, -1.95, -2.05, -2.15], [1, 0, 0, 0])
    assert kept(table, relative_margin=0.05) == [3]
    # perc_pos refuses logits; within [-1, 1] a negative cosine is possible.
    table = part([-0.5, -0.5, -0.51, -0.6], [1, 0, 0, 0])
    assert kept(table, perc_pos=0.95) == [3]


def test_a_percentage_of_a_logit_is_refused() -> None:
    from negmine.errors import UsageError

    table = part([4.0, -3.0], [1, 0])
    with pytest.raises(UsageError, match="a percentage of it means nothing"):
        reasons(table, perc_pos=0.95)
    # sigmoid(4) = 0.982, sigmoid(-3) = 0.047
    assert kept(table, perc_pos=0.95, transform="sigmoid") == [1]
    assert kept(table, max_score=0.05, transform="sigmoid") == [1]
    # BM25 has a zero that means something.
    assert kept(part([20.0, 18.0, 19.5], [1, 0, 0]), perc_pos=0.95) == [1]


@pytest.mark.parametrize(
    ("against", "expected"), [("min", [4]), ("mean", [3, 4]), ("max", [2, 3, 4])]
)
def test_several_positives(against: str, expected: list[int]) -> None:
    """Positives 1.0 and 3.0: candidates must score at most 1, 2 or 3."""
    table = part([1.0, 3.0, 2.5, 1.5, 0.5], [1, 1, 0, 0, 0])
    assert kept(table, absolute_margin=0.0, against=against) == expected


def test_no_positive_score() -> None:
    table = part([None, 0.1, 0.2], [1, 0, 0])
    assert reasons(table) == ["positive", None, None]
    assert reasons(table, margin_pos=0.1) == ["positive"] + ["no_positive_score"] * 2


def test_kalm_drops_the_query() -> None:
    """Query a: best positive 0.5 < 0.6 at rank 2; query b: 0.7 is not."""
    table = part(
        [0.5, 0.6, 0.1, 0.7, 0.6, 0.1],
        [1, 0, 0, 1, 0, 0],
        ranks=[1, 2, 3, 1, 2, 3],
        qids=["a"] * 3 + ["b"] * 3,
    )
    assert reasons(table, query_min_rank=2) == [
        "positive",
        "query_min_rank",
        "query_min_rank",
        "positive",
        None,
        None,
    ]
    # No candidate at that rank: nothing to compare with.
    assert kept(table, query_min_rank=9) == [1, 2, 4, 5]


def test_guide() -> None:
    table = part([0.0] * 6, [1, 0, 0, 0, 0, 0], guide=[0.5, 0.5, 0.53125, 0.46875, 0.40625, None])
    # Above the positive's guide score: strictly.
    assert reasons(table, guide="guide") == [
        "positive",
        None,
        "guide",
        None,
        None,
        "unscored_guide",
    ]
    assert kept(table, guide="guide", guide_margin=0.0625) == [4]
    assert kept(table, guide="guide", guide_margin=0.1, guide_margin_form="relative") == [4]


def test_percentile() -> None:
    """u(p) = 1.0 for the best of four positives: share 0.5 lets u(d) <= 0.5 through."""
    fit = Fit(positive_scores=np.array([0.1, 0.2, 0.3, 0.4]))
    table = part([0.4, 0.05, 0.25, 0.35], [1, 0, 0, 0])
    # u(0.05) = 0, u(0.25) = 0.5, u(0.35) = 0.75
    assert kept(table, fit, percentile=0.5) == [1, 2]
    assert kept(table, fit, percentile=0.01) == [1]
    assert kept(table, fit, percentile=0.01, percentile_floor=0.75) == [1, 2, 3]


def test_conformal_threshold_is_exclusive() -> None:
    table = part([2.0, 1.5, 1.0, 0.5], [1, 0, 0, 0])
    score = Fit(bound=Bound("score", np.array([1.0]), ("",)))
    assert kept(table, score, max_fn_rate=0.1) == [3]
    margin = Fit(bound=Bound("margin", np.array([-0.75]), ("",)))
    assert kept(table, margin, max_fn_rate=0.1) == [2, 3]


def test_pseudo_positives_of_unlabelled_queries_only() -> None:
    table = part(
        [0.95, 0.99, 0.05, 0.95, 0.92, 0.05, 0.8, 0.05],
        [1, 0, 0, 0, 0, 0, 0, 0],
        ranks=[1, 2, 3, 9, 1, 2, 1, 2],
        qids=["a"] * 3 + ["b"] * 3 + ["c"] * 2,
    )
    ledger, _ = judge(
        table,
        FilterParams(pseudo_positive=0.9, max_score=0.1, range_max=5),
        Columns("ce", "ce"),
    )
    # b's 0.95 lies beyond rank 5; c has nothing above 0.9.
    assert ledger.column("label").to_pylist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert ledger.column("dropped_by").to_pylist() == [
        "positive",
        "max_score",
        None,
        "range_max",
        "pseudo_positive",
        None,
        "max_score",
        None,
    ]


def test_the_guard_goes_before_the_scores() -> None:
    table = part(SCORES, LABELS)
    flags = {"same_text": np.arange(6) == 1, "excluded": np.arange(6) < 3}
    params = FilterParams(exclude="x", margin_pos=0.01)
    ledger, stats = judge(table, params, Columns("ce", "ce"), flags=flags)
    assert ledger.column("dropped_by").to_pylist() == [
        "positive",
        "same_text",
        "excluded",
        None,
        None,
        "unscored",
    ]
    off = FilterParams(same_text=False, exclude="x")
    ledger, _ = judge(table, off, Columns("ce", "ce"), flags=flags)
    assert ledger.column("dropped_by").to_pylist()[1] == "excluded"
    assert stats["dropped.same_text"] == 1


def test_every_rule_has_its_own_name() -> None:
    names = [rule.name for rule in rules.RULES]
    assert len(set(names)) == len(names)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    queries = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    n = sum(queries)
    score = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    ranks: list[int | None] = []
    for size in queries:
        ranks += draw(st.permutations(range(1, size + 1)))
    return part(
        draw(st.lists(score, min_size=n, max_size=n)),
        draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)),
        ranks,
        [f"q{i}" for i, size in enumerate(queries) for _ in range(size)],
        draw(st.lists(score, min_size=n, max_size=n)),
    )


SETTINGS: list[dict[str, Any]] = [
    {"relative_margin": 0.1, "sampler": "random"},
    {"perc_pos": 0.9, "shift": 1, "sampler": "simans"},
    {"margin_pos": 0.25, "skip_survivors": 1, "sampler": "stratified"},
    {"percentile": 0.5, "sampler": "rank", "difficulty": True},
    {"guide": "guide", "max_score": 0.5, "order": "easy-first"},
    {"query_min_rank": 2, "range_max": 3, "fill_beyond": 3, "tau_plus": 0.1},
    {"pseudo_positive": 0.6, "max_score": 0.5, "prefer_judged": True},
    {"weight": "dclr", "weight_by": "guide", "weight_above": 0.5},
]


@settings(deadline=None)
@given(table=tables(), options=st.sampled_from(SETTINGS), seed=st.integers(0, 99))
def test_each_row_has_one_fate_and_the_order_of_rows_does_not_matter(
    table: pa.Table, options: dict[str, Any], seed: int
) -> None:
    params = FilterParams(**({"num_negatives": 2, "seed": seed} | options))
    has_positive = any(
        label == 1 and score is not None
        for label, score in zip(
            table.column("label").to_pylist(), table.column("score_ce").to_pylist(), strict=True
        )
    )
    if params.percentile is not None and not has_positive:
        return
    ledger, stats = judge(table, params, Columns("ce", "ce"))
    dropped = ledger.column("dropped_by").is_valid().to_numpy()
    selected = ledger.column("selected").is_valid().to_numpy()
    assert not (dropped & selected).any()
    counted = sum(count for name, count in stats.items() if name.startswith("dropped."))
    assert counted + stats["survivors"] == stats["candidates"] == table.num_rows
    assert stats["selected"] == selected.sum()
    for qid in set(table.column("qid").to_pylist()):
        mine = np.array(ledger.column("qid").to_pylist()) == qid
        numbers = sorted(
            np.array(ledger.column("selected").to_pylist(), dtype=object)[mine & selected]
        )
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) <= 2
    # Within a query the rows may come in any order.
    order = np.random.default_rng(seed).permutation(table.num_rows)
    query = np.array(table.column("qid").to_pylist())
    order = order[np.argsort(query[order], kind="stable")]
    again, _ = judge(table.take(pa.array(order)), params, Columns("ce", "ce"))
    assert again.equals(ledger.take(pa.array(order)))

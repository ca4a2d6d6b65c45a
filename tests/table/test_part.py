"""What a part says of its rows, against plain Python over the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from statistics import fmean

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.table.part import UNRANKED, Part, known_scores

Rows = list[tuple[str, str, int, float | None, int | None, int | None]]

QUERIES = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.none() | st.floats(-50, 50, width=32),
            st.none() | st.integers(1, 9),
            st.none() | st.integers(1, 9),
        ),
        min_size=1,
        max_size=5,
    ),
    max_size=5,
)


def rows_of(queries: list[list[tuple[int, float | None, int | None, int | None]]]) -> Rows:
    # Ids that do not ascend: a part's queries stand in the order of the user's file.
    return [
        (f"q{9 - number}", f"d{place}", *row)
        for number, query in enumerate(queries)
        for place, row in enumerate(query)
    ]


def table_of(rows: Rows) -> pa.Table:
    qid, docid, label, score, bm25, given_ = zip(*rows, strict=True) if rows else ((),) * 6
    return pa.table(
        {
            "qid": pa.array(qid, pa.string()),
            "docid": pa.array(docid, pa.string()),
            "label": pa.array(label, pa.int8()),
            "grade": pa.array([None] * len(rows), pa.float64()),
            "rank_bm25": pa.array(bm25, pa.int32()),
            "score_bm25": pa.array(score, pa.float32()),
            "rank_given": pa.array(given_, pa.int32()),
            "score_given": pa.array([None] * len(rows), pa.float32()),
        }
    )


@given(QUERIES)
def test_queries_and_positives(
    queries: list[list[tuple[int, float | None, int | None, int | None]]],
) -> None:
    rows = rows_of(queries)
    part = Part(table_of(rows))
    seen: list[str] = []
    for qid, *_ in rows:
        if qid not in seen:
            seen.append(qid)
    assert len(part) == len(rows)
    assert part.queries == len(seen)
    assert part.qids.to_pylist() == seen
    assert part.query.tolist() == [seen.index(qid) for qid, *_ in rows]
    assert part.starts.tolist() == [[row[0] for row in rows].index(qid) for qid in seen]
    assert part.positive.tolist() == [label == 1 for _, _, label, *_ in rows]
    assert part.valid("score_bm25").tolist() == [row[3] is not None for row in rows]


@pytest.mark.parametrize("against", ["min", "mean", "max"])
@given(queries=QUERIES)
def test_the_score_of_a_querys_positives(
    against: str, queries: list[list[tuple[int, float | None, int | None, int | None]]]
) -> None:
    rows = rows_of(queries)
    part = Part(table_of(rows))
    statistic: Callable[[list[float]], float] = {"min": min, "max": max, "mean": fmean}[against]
    expected: list[float] = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        of_query = list(group)
        scores = [row[3] for row in of_query if row[2] == 1]
        known = [score for score in scores if score is not None]
        unknown = not scores or len(known) < len(scores)
        expected += [math.nan if unknown else statistic(known)] * len(of_query)
    found = part.positive_score(part.score("bm25"), against)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(QUERIES)
def test_ranks(queries: list[list[tuple[int, float | None, int | None, int | None]]]) -> None:
    rows = rows_of(queries)
    part = Part(table_of(rows))
    searched = [UNRANKED if row[4] is None else row[4] for row in rows]
    assert part.rank("bm25").tolist() == searched
    # What a training set brought along has no rank of a search.
    assert part.rank().tolist() == part.best_rank.tolist() == searched
    assert part.found.tolist() == [row[4] is not None for row in rows]


def test_the_best_of_several_ranks_that_are_all_a_search() -> None:
    ranks = {"rank_a": pa.array([3, None, None], pa.int32())}
    ranks["rank_b"] = pa.array([5, 2, None], pa.int32())
    assert Part(pa.table(ranks)).best_rank.tolist() == [3, 2, np.iinfo(np.int32).max]


def test_logits_become_probabilities() -> None:
    part = Part(pa.table({"score_ce": pa.array([0.0, None, -2.0], pa.float32())}))
    expected = [0.5, math.nan, 1 / (1 + math.exp(2))]
    np.testing.assert_allclose(part.score("ce", "sigmoid"), expected)


@given(QUERIES)
def test_scores_of_all_positives_ascend(
    queries: list[list[tuple[int, float | None, int | None, int | None]]],
) -> None:
    rows = rows_of(queries)
    halves = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    found = known_scores(map(table_of, halves), "bm25")
    assert found.tolist() == sorted(row[3] for row in rows if row[2] and row[3] is not None)


def test_other_labels_are_another_part() -> None:
    part = Part(table_of([("q", "a", 1, 1.0, 1, None), ("q", "b", 0, 2.0, 2, None)]))
    other = part.relabelled(np.array([False, True]))
    assert part.positive.tolist() == [True, False]
    assert other.positive.tolist() == [False, True]
    assert other.table.schema == part.table.schema


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    part = Part(table_of([("q", "a", 1, 1.0, 1, None)]))
    assert set(vars(part)) == {"table"}
    first = part.query
    assert part.query is first

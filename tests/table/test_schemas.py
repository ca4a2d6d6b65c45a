"""Schemas, their checks, and the one ranking function."""

from __future__ import annotations

from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmine.errors import InvalidDataError, UsageError
from negmine.table import ranking, schemas
from negmine.table.names import check_name

SCORED = schemas.with_scores(schemas.candidates(["bm25", "minilm"]), ["guide", "ce"])


def test_names_of_scores_and_sources() -> None:
    assert schemas.score_names(SCORED) == ["bm25", "minilm", "guide", "ce"]
    assert schemas.source_names(SCORED) == ["bm25", "minilm"]


def test_the_default_score_is_the_last_scorers_else_the_first_sources() -> None:
    assert schemas.pick_score(SCORED, None, "--by") == "ce"
    assert schemas.pick_score(schemas.candidates(["bm25", "minilm"]), None, "--by") == "bm25"
    assert schemas.pick_score(SCORED, "score_minilm", "--by") == "minilm"
    with pytest.raises(UsageError, match="no score 'miniml'") as caught:
        schemas.pick_score(SCORED, "miniml", "--by")
    assert "Did you mean 'minilm'" in str(caught.value)


@given(st.lists(st.text()))
def test_codes_compare_as_utf8_bytes_do(strings: list[str]) -> None:
    strings = [string.encode("utf-8", "ignore").decode() for string in strings]
    codes, distinct = ranking.string_codes(pa.array(strings, pa.string()))
    assert distinct.to_pylist() == sorted(set(strings), key=lambda s: s.encode())
    assert [distinct[int(code)].as_py() for code in codes] == strings


scores = st.one_of(st.floats(-3, 3, width=32), st.just(float("nan")))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.0, float("nan")]))),
    st.booleans(),
)
def test_rows_that_nothing_tells_apart_stay_in_order(
    rows: list[tuple[int, float]], many: bool
) -> None:
    # Many groups take the way around the counting sort.
    group = np.array([row[0] * (100_000 if many else 1) for row in rows], dtype=np.int64)
    score = np.array([row[1] for row in rows])
    descending = np.where(np.isnan(score), np.inf, -score)
    same = np.zeros(len(rows), dtype=np.int64)
    expected = np.lexsort((same, descending, group))
    assert ranking.rank_order(group, score, same).tolist() == expected.tolist()


@given(st.lists(st.tuples(st.text(max_size=2), st.integers(1, 4)), unique_by=lambda row: row[0]))
def test_query_numbers_count_runs(runs: list[tuple[str, int]]) -> None:
    qids = [qid for qid, length in runs for _ in range(length)]
    column = pa.chunked_array([qids[:3], qids[3:]], pa.string())
    number, starts = ranking.query_numbers(column)
    assert number.tolist() == [n for n, (_, length) in enumerate(runs) for _ in range(length)]
    assert starts.tolist() == [qids.index(qid) for qid, _ in runs]


@given(st.lists(st.tuples(st.integers(0, 3), scores, st.integers(0, 9))))
def test_rank_order_is_by_group_then_falling_score_then_tie_break(
    rows: list[tuple[int, float, int]],
) -> None:
    group = np.array([row[0] for row in rows], dtype=np.int64)
    score = np.array([row[1] for row in rows], dtype=np.float64)
    tie = np.array([row[2] for row in rows], dtype=np.int64)
    got = [rows[i] for i in ranking.rank_order(group, score, tie)]
    key = lambda row: (row[0], np.isnan(row[1]), 0 if np.isnan(row[1]) else -row[1], row[2])  # noqa: E731
    assert [key(row) for row in got] == sorted(key(row) for row in rows)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([0.5, 1.0]), st.text("ab\U0001f600é", max_size=3)
        ),
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
def test_docids_break_ties_as_their_sorted_codes_do(
    rows: list[tuple[int, float, str]], random: Random
) -> None:
    docids = pa.array([row[2] for row in rows], pa.string())
    kept = np.array(sorted(random.sample(range(len(rows)), len(rows) // 2)), dtype=np.int64)
    group = np.array([rows[at][0] for at in kept], dtype=np.int64)
    score = np.array([rows[at][1] for at in kept])
    codes = ranking.string_codes(docids)[0]
    expected = ranking.rank_order(group, score, codes[kept])
    lazy = ranking.Codes(docids)
    assert ranking.rank_order(group, score, lazy, kept).tolist() == expected.tolist()


def test_a_few_codes_are_made_without_the_others() -> None:
    codes = ranking.Codes(pa.chunked_array([["b", "c"], [str(n) for n in range(98)]]))
    assert codes[np.array([1, 0, 2])].tolist() == [2, 1, 0]
    every = codes[np.arange(100)]
    assert every[1] > every[0] > every[2]
    assert codes[np.array([1, 0])].tolist() == every[[1, 0]].tolist()


def test_positions_start_at_one_in_each_group() -> None:
    assert ranking.positions_in_group(np.array([3, 3, 5, 5, 5, 9])).tolist() == [1, 2, 1, 2, 3, 1]
    assert ranking.positions_in_group(np.array([], dtype=int)).tolist() == []


def test_check_names_the_column() -> None:
    schema = pa.schema([pa.field("qid", pa.string(), nullable=False), ("score_x", pa.float32())])
    good = pa.table({"qid": ["a"], "score_x": pa.array([None], pa.float32())})
    assert schemas.check(good, schema, "here") is good
    for column, message in (
        (pa.array([float("inf")], pa.float32()), "'score_x' holds a NaN or infinite"),
        (pa.array([1.0], pa.float64()), "'score_x' is double, not float"),
    ):
        with pytest.raises(InvalidDataError, match=message):
            schemas.check(pa.table({"qid": ["a"], "score_x": column}), schema, "here")
    with pytest.raises(InvalidDataError, match="'qid' has nulls"):
        schemas.check(
            pa.table({"qid": pa.array([None], pa.string()), "score_x": good[1]}), schema, ""
        )
    with pytest.raises(InvalidDataError, match="columns are"):
        schemas.check(pa.table({"qid": ["a"]}), schema, "here")


@pytest.mark.parametrize("name", ["9lives", "a-b", "", "a b", "best"])
def test_names_that_cannot_be_columns(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name, "--encoder")


@given(st.lists(st.integers(0, 30), unique=True), st.lists(st.integers(0, 30)))
def test_keys_are_found_where_they_stand(held: list[int], keys: list[int]) -> None:
    ascending = np.array(sorted(held), dtype=np.int64)
    at, found = ranking.find(ascending, np.array(keys, dtype=np.int64))
    assert found.tolist() == [key in held for key in keys]
    assert ascending[at[found]].tolist() == [key for key in keys if key in held]

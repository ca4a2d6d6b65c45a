"""Conditions on columns: DuckDB says for which rows they hold."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.errors import UsageError
from negmine.table import conditions
from negmine.table.part import Part

SIGNS = (">", ">=", "<", "<=", "=", "!=")


def part(rows: int = 60, seed: int = 0) -> Part:
    draw = np.random.default_rng(seed)
    holes = draw.random(rows) < 0.2
    return Part(
        pa.table(
            {
                "qid": pa.array([f"q{i // 6}" for i in range(rows)]),
                "docid": pa.array([f"d{i}" for i in range(rows)]),
                "label": pa.array((np.arange(rows) % 6 == 0).astype(np.int8)),
                "rank_a": pa.array(draw.integers(1, 9, rows), pa.int32(), mask=holes),
                "score_a": pa.array(draw.integers(-3, 4, rows) / 2, pa.float32(), mask=holes),
                "score_judge": pa.array(draw.random(rows), pa.float32()),
                "verdict_judge": pa.array(draw.choice(["yes", "no", "not sure"], rows)),
            }
        )
    )


def rows(where: str, pairs: pa.Table) -> list[str]:
    return [row[0] for row in duckdb.sql(f"SELECT docid FROM pairs WHERE {where}").fetchall()]


def found(text: str, of: Part) -> list[str]:
    condition = conditions.parse(text, "--x")
    conditions.check(condition, of.table.schema, "--x")
    mask = conditions.holds(condition, of)
    return of.table.column("docid").filter(pa.array(mask)).to_pylist()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(SIGNS), st.sampled_from([-1, -0.5, 0, 0.5, 1.5])), max_size=2
    ),
    st.sampled_from(SIGNS),
    st.sampled_from([1, 4, 8]),
)
def test_numbers_are_compared_as_duckdb_does(
    scores: list[tuple[str, float]], sign: str, rank: int
) -> None:
    of = part()
    text = " and ".join([*(f"a {s} {v}" for s, v in scores), f"rank_a {sign} {rank}"])
    assert found(text, of) == rows(
        text.replace("a ", "score_a ").replace("rank_score_a", "rank_a"), of.table
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("verdict_judge = yes", "verdict_judge = 'yes'"),
        ("verdict_judge!='not sure'", "verdict_judge != 'not sure'"),
        (
            'verdict_judge == "not sure" AND judge>.5',
            "verdict_judge = 'not sure' and score_judge > .5",
        ),
        ("judge >= 5e-1 & label = 0", "score_judge >= .5 and label = 0"),
        ("verdict_judge != 'this and that' and label=0", "label = 0"),
        ('verdict_judge != "R&D" & label=0', "label = 0"),
    ],
)
def test_words_and_spellings(text: str, where: str) -> None:
    of = part()
    assert found(text, of) == rows(where, of.table) != []


@pytest.mark.parametrize(
    ("text", "added"), [("positive", 0), ("positive - 0.5", -0.5), ("positive+.25", 0.25)]
)
@pytest.mark.parametrize("sign", SIGNS)
def test_the_positive_of_the_query(text: str, added: float, sign: str) -> None:
    of = part()
    pairs = of.table
    assert pairs.num_rows
    least = duckdb.sql(
        "SELECT docid FROM pairs t JOIN (SELECT qid, min(score_a) AS p, count(*) AS n, "
        "count(score_a) AS m FROM pairs WHERE label = 1 GROUP BY qid) USING (qid) "
        f"WHERE m = n AND score_a {sign} p + ({added}) ORDER BY CAST(substr(docid, 2) AS INT)"
    ).fetchall()
    assert found(f"a {sign} {text}", of) == [row[0] for row in least]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("judge", "no condition"),
        ("> 0.5", "no condition"),
        ("judge > 0.5 and", "no number and no word"),
        ("judge > 0.5 or a > 1", "no number and no word"),
        ("verdict_judge > yes", "compared by = or !="),
        ("jugde > 0.5", "did you mean 'judge'"),
        ("verdict_judge = 1", "Compare it with a text"),
        ("judge = yes", "Compare it with a number"),
        ("rank_a > positive", "is none"),
    ],
)
def test_what_is_none_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        found(text, part())
    assert told.lower() in str(refused.value).lower()


@settings(deadline=None)
@given(st.sampled_from(SIGNS), st.floats(-5, 5, width=16), st.booleans())
def test_a_condition_is_told_in_one_spelling(sign: str, value: float, of_positive: bool) -> None:
    plain = (
        "positive " + (f"- {-value!r}" if value < 0 else f"+ {value!r}")
        if of_positive
        else repr(value)
    )
    condition = conditions.parse(f"a{sign}{plain} &verdict_judge= yes", "--x")
    told = conditions.told(condition)
    assert conditions.told(conditions.parse(told, "--x")) == told


@given(st.floats(allow_nan=False, allow_infinity=False), st.booleans())
def test_a_number_is_told_to_its_last_digit(value: float, of_positive: bool) -> None:
    one = conditions.Comparison("a", ">", value, of_positive)
    assert conditions.parse(conditions.told((one,)), "--x") == (one,)


@given(st.text(alphabet="a1.e+-& <>=!'pd", max_size=6) | st.sampled_from(["positive", "a and b"]))
def test_a_text_is_told_so_that_it_stays_one(value: str) -> None:
    one = conditions.Comparison("verdict_judge", "=", value.strip("'").replace("'", ""))
    assert conditions.parse(f"{conditions.told((one,))} and a > 1", "--x")[0] == one


def test_columns_that_are_read() -> None:
    schema = part().table.schema
    one, two = conditions.parse("a > 1 and verdict_judge = yes", ""), conditions.parse("a > 2", "")
    assert conditions.columns([one, two], schema) == ["score_a", "verdict_judge"]
    assert conditions.columns([conditions.parse("a > positive", "")], schema) == [
        "score_a",
        "qid",
        "label",
    ]

"""What must add up: held by every rule, sampler and layout, and broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine import formats
from negmine.errors import InvariantError
from negmine.formats.base import Chosen, Examples, Options, tables
from negmine.params import FilterParams
from negmine.stages.export.accounts import account
from negmine.stages.filter.accounts import check_ledger
from negmine.stages.filter.deciding import judge
from negmine.stages.filter.options import Columns

# --- ledgers ------------------------------------------------------------------------------------

SAMPLERS = ("top", "bottom", "rank", "random", "stratified", "simans")
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"relative_margin": 0.1},
    {"max_score": 0.5, "shift": 1},
    {"skip_survivors": 1, "min_score": 0.25},
    {"range_max": 4, "fill_beyond": 4},
    {"pseudo_positive": 0.6, "prefer_judged": True},
)


@st.composite
def scored(draw: st.DrawFn) -> pa.Table:
    """A part of a scored table: some queries, each with positives, judged and unknown rows."""
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    n = sum(sizes)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    label = column(st.sampled_from([0, 0, 0, 1]))
    score = column(st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0])))
    return pa.table(
        {
            "qid": [f"q{i}" for i, size in enumerate(sizes) for _ in range(size)],
            "docid": [f"d{j}" for size in sizes for j in draw(st.permutations(range(size)))],
            "label": pa.array(label, pa.int8()),
            "grade": pa.array(
                [one or draw(st.sampled_from([None, 0])) for one in label], pa.int32()
            ),
            "rank_bm25": pa.array([j for size in sizes for j in range(1, size + 1)], pa.int32()),
            "score_bm25": pa.array(np.linspace(9, 1, n), pa.float32()),
            "score_ce": pa.array(score, pa.float32()),
        }
    )


def filtered(part: pa.Table, **options: Any) -> tuple[pa.Table, dict[str, int]]:
    return judge(part, FilterParams(**options), Columns("ce", "ce", None))


@settings(deadline=None, max_examples=60)
@given(
    part=scored(),
    rules=st.sampled_from(RULES),
    sampler=st.sampled_from(SAMPLERS),
    asked=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_every_sampler_keeps_the_accounts_whatever_the_rules(
    part: pa.Table, rules: dict[str, Any], sampler: str, asked: int, seed: int
) -> None:
    options = {"num_negatives": asked, "sampler": sampler, "seed": seed, **rules}
    ledger, stats = filtered(part, **options)
    check_ledger(part, ledger, asked, stats)
    # The same, row by row.
    taken: dict[str, list[int]] = {}
    for row in ledger.to_pylist():
        if row["selected"] is not None:
            assert row["label"] == 0
            assert row["dropped_by"] is None
            taken.setdefault(row["qid"], []).append(row["selected"])
    assert all(sorted(t) == list(range(1, len(t) + 1)) for t in taken.values())
    assert max(map(len, taken.values()), default=0) <= asked
    # The same seed draws the same, and so do the rows in another order.
    again, _ = filtered(part, **options)
    assert again.equals(ledger)
    order = np.random.default_rng(seed).permutation(part.num_rows)
    query = np.array(part.column("qid").to_pylist())
    order = pa.array(order[np.argsort(query[order], kind="stable")])
    assert filtered(part.take(order), **options)[0].equals(ledger.take(order))


PART = pa.table(
    {
        "qid": ["a"] * 6 + ["b"] * 3,
        "docid": [f"d{i}" for i in range(9)],
        "label": pa.array([1, 0, 0, 0, 0, 0, 1, 0, 0], pa.int8()),
        "grade": pa.array([1] + [None] * 5 + [1, None, None], pa.float64()),
        "rank_bm25": pa.array([*range(1, 7), *range(1, 4)], pa.int32()),
        "score_bm25": pa.array(np.linspace(9, 1, 9), pa.float32()),
        "score_ce": pa.array([0.5, 0.9, 0.4, 0.3, 0.2, 0.1, 0.5, 0.4, 0.3], pa.float32()),
    }
)


def set_(ledger: pa.Table, name: str, rows: list[int], value: Any) -> pa.Table:
    values = ledger.column(name).to_pylist()
    for row in rows:
        values[row] = value
    index = ledger.schema.get_field_index(name)
    field = ledger.schema.field(index)
    return ledger.set_column(index, field, pa.array(values, field.type))


def number_again(ledger: pa.Table, row: int) -> pa.Table:
    """Select one more row of the first query, and number it after the others."""
    taken = [n for n in ledger.column("selected").to_pylist()[:6] if n is not None]
    return set_(ledger, "selected", [row], max(taken) + 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.slice(0, 8), "candidate rows of a part: 9 is not decided 8"),
        (lambda t: pa.concat_tables([t, t.slice(8)]), "candidate rows of a part"),
        (lambda t: set_(t, "docid", [1], "other"), "docids of a part's candidate rows changed"),
        (lambda t: set_(t, "qid", [5], "b"), "qids of a part's candidate rows changed"),
        (lambda t: set_(t, "dropped_by", [2], "max_score"), "survivors of a part"),
        (lambda t: set_(t, "dropped_by", [1], "min_score"), "rows dropped by min_score"),
        (lambda t: set_(t, "selected", [2], None), "negatives of a part"),
        (lambda t: number_again(set_(t, "selected", [7], None), 0), "a known positive was"),
        (lambda t: number_again(set_(t, "selected", [7], None), 1), "a dropped candidate was"),
        (lambda t: number_again(set_(t, "selected", [7], None), 4), "3 negatives of a query"),
        (lambda t: set_(t, "selected", [2, 3], 1), "not numbered 1, 2, 3"),
        (lambda t: set_(t, "selected", [2], 7), "not numbered 1, 2, 3"),
    ],
)
def test_a_spoilt_ledger_is_refused(spoil: Callable[[pa.Table], pa.Table], message: str) -> None:
    ledger, stats = filtered(PART, num_negatives=2, relative_margin=0.0)
    check_ledger(PART, ledger, 2, stats)
    assert ledger.column("selected").to_pylist() == [None, None, 1, 2, None, None, None, 1, 2]
    with pytest.raises(InvariantError, match=message):
        check_ledger(PART, spoil(ledger), 2, stats)


# --- examples -----------------------------------------------------------------------------------


@st.composite
def choices(draw: st.DrawFn) -> tuple[Chosen, int]:
    """What a ledger chose: texts are the ids, so that rows tell what they hold."""
    queries, documents = draw(st.integers(1, 4)), 12
    most = draw(st.integers(1, 3))
    positives, negatives = [], []
    for query in range(queries):
        docs = draw(st.permutations(range(documents)))
        some = draw(st.integers(0, 3))
        positives += [(query, doc) for doc in docs[:some]]
        negatives += [(query, doc) for doc in docs[some : some + draw(st.integers(0, most))]]
    ids = pa.array([f"D{d}" for d in range(documents)])
    qids = pa.array([f"Q{q}" for q in range(queries)])

    def column(pairs: list[tuple[int, int]], at: int) -> np.ndarray:
        return np.array([pair[at] for pair in pairs], dtype=np.int64)

    score = st.one_of(st.just(float("nan")), st.floats(-1, 1, width=16))

    def scores(n: int) -> np.ndarray:
        return np.array(draw(st.lists(score, min_size=n, max_size=n)), dtype=np.float64)

    ranks = np.arange(1, len(negatives) + 1)
    chosen = Chosen(
        qids=qids,
        query_texts=qids,
        docids=ids,
        doc_texts=ids,
        positive_query=column(positives, 0),
        positive_doc=column(positives, 1),
        positive_score=scores(len(positives)),
        negative_query=column(negatives, 0),
        negative_doc=column(negatives, 1),
        negative_score=scores(len(negatives)),
        negative_ranks={"bm25": ranks},
    )
    return chosen, most


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def pairs(examples: Examples, chosen: Chosen) -> set[tuple[str, str]]:
    """(query, document) of every text or id in the rows that go out."""
    found = set()
    for table in tables(examples, chosen):
        for row in table.to_pylist():
            said = list(strings(row))
            (query,) = {one for one in said if one.startswith("Q")}
            found |= {(query, one) for one in said if one.startswith("D")}
    return found


LAYOUTS = (
    *("triplet", "n-tuple", "labeled-pair", "labeled-list", "flagembedding", "tevatron"),
    *("pylate-kd", "msmarco", "trec-qrels"),
)


@settings(deadline=None, max_examples=80)
@given(given_=choices(), name=st.sampled_from(LAYOUTS), scores=st.booleans(), ids=st.booleans())
def test_every_layout_gives_all_rows_of_a_query_or_none(
    given_: tuple[Chosen, int], name: str, scores: bool, ids: bool
) -> None:
    chosen, most = given_
    layout = formats.load(name)
    examples = layout.layout(chosen, Options(scores=scores, ids=ids, num_negatives=most))
    counts = account(examples, chosen, selective=layout.selective)
    found = pairs(examples, chosen)
    exported = {query for query, _ in found}
    negatives = {
        (f"Q{q}", f"D{d}") for q, d in zip(chosen.negative_query, chosen.negative_doc, strict=True)
    }
    positives = {
        (f"Q{q}", f"D{d}") for q, d in zip(chosen.positive_query, chosen.positive_doc, strict=True)
    }
    assert found == {pair for pair in positives | negatives if pair[0] in exported}
    assert counts == {
        "negatives_exported": len(found & negatives),
        "negatives_of_queries_left_out": sum(q not in exported for q, _ in negatives),
        "negatives_left_out": 0,
    }
    assert examples.queries_left_out == len(chosen.qids) - len(exported)


@settings(deadline=None, max_examples=40)
@given(choices())
def test_a_run_leaves_out_what_has_no_score_and_counts_it(given_: tuple[Chosen, int]) -> None:
    chosen, most = given_
    layout = formats.load("trec-run")
    examples = layout.layout(chosen, Options(scores=True, ids=False, num_negatives=most))
    counts = account(examples, chosen, selective=layout.selective)
    unknown = int(np.isnan(chosen.negative_score).sum())
    assert counts["negatives_exported"] == len(chosen.negative_query) - unknown
    assert counts["negatives_left_out"] + counts["negatives_of_queries_left_out"] == unknown


CHOSEN = Chosen(
    qids=pa.array(["Q0", "Q1"]),
    query_texts=pa.array(["Q0", "Q1"]),
    docids=pa.array([f"D{i}" for i in range(6)]),
    doc_texts=pa.array([f"D{i}" for i in range(6)]),
    positive_query=np.array([0, 1]),
    positive_doc=np.array([0, 1]),
    positive_score=np.array([1.0, 1.0]),
    negative_query=np.array([0, 0, 1]),
    negative_doc=np.array([2, 3, 4]),
    negative_score=np.array([0.5, 0.4, 0.3]),
)


def test_a_layout_that_loses_or_invents_is_refused() -> None:
    examples = formats.load("triplet").layout(CHOSEN, Options(False, False, 2))
    assert account(examples, CHOSEN, selective=False)["negatives_exported"] == 3
    # One of the two triplets of the first query is gone.
    lossy = examples.take(np.array([1, 2]))
    with pytest.raises(InvariantError, match="1 selected negatives are missing"):
        account(lossy, CHOSEN, selective=False)
    assert account(lossy, CHOSEN, selective=True)["negatives_left_out"] == 1
    # A whole query may give no example: that is counted.
    one = examples.take(np.array([2]))
    assert account(one, CHOSEN, selective=False)["negatives_of_queries_left_out"] == 2
    # The second query's negative stands with the first query.
    swapped = replace(examples.columns[2], values=np.array([2, 4, 4]))
    strange = replace(examples, columns=[*examples.columns[:2], swapped])
    with pytest.raises(InvariantError, match="1 documents of the examples are neither"):
        account(strange, CHOSEN, selective=True)
    twice = replace(CHOSEN, negative_doc=np.array([2, 2, 4]))
    with pytest.raises(InvariantError, match="chosen negatives: 3 is not distinct 2"):
        account(examples, twice, selective=False)

"""The given negatives as a source: their order is the rank, whatever their scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given as drawn
from hypothesis import strategies as st

from negmine.sources.base import Asked
from negmine.sources.given import Given

Rows = list[tuple[str, str, float | None, bool]]


def make(rows: Rows) -> Given:
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
    types = {
        "qid": pa.string(),
        "docid": pa.string(),
        "score": pa.float32(),
        "negative": pa.bool_(),
    }
    return Given(
        pa.table({n: pa.array(c, t) for (n, t), c in zip(types.items(), columns, strict=True)})
    )


def test_order_scores_and_what_is_not_known() -> None:
    source = make(
        [
            ("q1", "b", 1.0, True),
            ("q2", "a", None, True),
            ("q1", "a", 9.0, True),
            ("q1", "p", 7.5, False),
        ]
    )
    hits = source.search(Asked.by_id(["q3", "q1", "q2"]), 1)
    assert hits.query.tolist() == [1, 1, 2]
    assert hits.docid.to_pylist() == ["b", "a", "a"]
    assert hits.score.tolist()[:2] == [1.0, 9.0]
    assert np.isnan(hits.score[2])
    asked = pa.array(["p", "a", "b", "zz", "a"])
    scores = source.score(Asked.by_id(["q1", "q2", "q3"]), np.array([0, 0, 1, 0, 2]), asked)
    assert scores[:2].tolist() == [7.5, 9.0]
    assert np.isnan(scores[2:]).all()


_PAIR = st.tuples(st.sampled_from("qrs"), st.sampled_from("abcd"))


@drawn(st.lists(_PAIR, min_size=1, unique=True), st.permutations("qrst"))
def test_the_same_as_a_dictionary(pairs: list[tuple[str, str]], asked: list[str]) -> None:
    rows: Rows = [(q, d, float(n), n % 3 != 0) for n, (q, d) in enumerate(pairs)]
    source = make(rows)
    hits = source.search(Asked.by_id(asked), 2)
    found = [(asked[q], d) for q, d in zip(hits.query, hits.docid.to_pylist(), strict=True)]
    assert found == [
        (q, d) for wanted in asked for q, d, _, negative in rows if q == wanted and negative
    ]
    held = {(q, d): score for q, d, score, _ in rows}
    every = [(n, d) for n in range(len(asked)) for d in "abcde"]
    scores = source.score(
        Asked.by_id(asked), np.array([n for n, _ in every]), pa.array([d for _, d in every])
    )
    for (n, d), score in zip(every, scores, strict=True):
        assert np.isnan(score) if (asked[n], d) not in held else score == held[asked[n], d]

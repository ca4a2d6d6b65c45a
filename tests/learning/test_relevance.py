"""``p_relevant`` learns from what was found: a score alone does not make a row a found one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from negmine.learning import relevance


def test_scores_of_rows_that_a_source_did_not_find_teach_nothing() -> None:
    rows = {
        "qid": ["q1"] * 4 + ["q2"] * 3,
        "docid": ["a", "b", "c", "p", "a", "d", "p"],
        "label": pa.array([0, 0, 0, 1, 0, 0, 1], pa.int8()),
        "grade": pa.array([None] * 7, pa.int32()),
        "rank_bm25": pa.array([1, None, 2, None, 1, None, 2], pa.int32()),
        "rank_minilm": pa.array([None, 1, 2, None, 1, 2, None], pa.int32()),
    }
    bare = {
        "score_bm25": pa.array([9.0, None, 4.0, 3.0, 8.0, None, 2.0], pa.float32()),
        "score_minilm": pa.array([None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], pa.float32()),
    }
    whole = {
        "score_bm25": pa.array([9.0, 5.0, 4.0, 3.0, 8.0, 1.0, 2.0], pa.float32()),
        "score_minilm": pa.array([0.1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4], pa.float32()),
    }
    tables = [pa.table({**rows, **scores}) for scores in (bare, whole)]
    np.testing.assert_array_equal(*map(relevance.features, tables))
    # Of the positives one was found by nobody.
    assert relevance.teachable(tables[1]).tolist() == [True, True, True, False, True, True, True]

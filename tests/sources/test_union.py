"""The union of the sources: which rows there are, and what stands in them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from negmine.sources.base import Hits
from negmine.sources.union import Judgements, gather
from negmine.sources.union import union as table_of
from negmine.table import schemas


def hits(*rows: tuple[int, str, float]) -> Hits:
    return Hits(
        query=np.array([row[0] for row in rows], dtype=np.int32),
        docid=pa.array([row[1] for row in rows], pa.string()),
        score=np.array([row[2] for row in rows], dtype=np.float32),
    )


def judgements(*rows: tuple[int, str, int]) -> Judgements:
    grade = np.array([row[2] for row in rows], dtype=np.float64)
    return Judgements(
        query=np.array([row[0] for row in rows], dtype=np.int32),
        docid=pa.array([row[1] for row in rows], pa.string()),
        grade=grade,
        positive=grade >= 1,
    )


def union(
    qids: pa.Array,
    found: dict[str, Hits],
    judged: Judgements,
    positive_scores: dict[str, np.ndarray],
) -> pa.Table:
    """The table where every source scores the positives, and nothing else that it did not find."""
    candidates = gather(found, judged)
    pairs = list(zip(judged.query.tolist(), judged.docid.to_pylist(), strict=True))
    positives = [pair for pair, is_one in zip(pairs, judged.positive, strict=True) if is_one]
    for name, scores in positive_scores.items():
        of_pair = dict(zip(positives, scores.tolist(), strict=True))
        for row in candidates.not_found_by(name, positives_only=True).tolist():
            pair = int(candidates.query[row]), candidates.docid[row].as_py()
            candidates.score[name][row] = of_pair[pair]
    return table_of(qids, candidates, schemas.candidates(list(candidates.rank)))


def test_rows_ranks_scores_labels_and_grades() -> None:
    table = union(
        pa.array(["q0", "q1"]),
        {
            "bm25": hits((0, "b", 9.0), (0, "a", 3.0), (1, "c", 1.0)),
            "minilm": hits((0, "a", 0.9), (0, "d", 0.5)),
        },
        # b is positive and found by one source, e by none; c is judged not relevant; f was judged
        # but neither found nor positive, so it is no candidate.
        judgements((0, "b", 2), (0, "e", 1), (0, "f", 0), (1, "c", 0)),
        {
            "bm25": np.array([9.0, 0.25], dtype=np.float32),
            "minilm": np.array([0.125, np.nan], dtype=np.float32),
        },
    )
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert table.schema.names == [
        *("qid", "docid", "label", "grade"),
        *("rank_bm25", "score_bm25", "rank_minilm", "score_minilm"),
    ]
    assert rows == [
        ("q0", "a", 0, None, 2, 3.0, 1, np.float32(0.9)),
        ("q0", "b", 1, 2, 1, 9.0, None, 0.125),
        ("q0", "d", 0, None, None, None, 2, 0.5),
        ("q0", "e", 1, 1, None, 0.25, None, None),
        ("q1", "c", 0, 0, 1, 1.0, None, None),
    ]


def test_a_query_that_nothing_is_found_for_has_its_positives_only() -> None:
    table = union(
        pa.array(["q0", "q1"]),
        {"bm25": hits()},
        judgements((1, "x", 1)),
        {"bm25": np.array([0.5], dtype=np.float32)},
    )
    assert table.to_pylist() == [
        {
            "qid": "q1",
            "docid": "x",
            "label": 1,
            "grade": 1,
            "rank_bm25": None,
            "score_bm25": 0.5,
        }
    ]


def test_a_ranking_counts_down_to_its_kth_document_that_is_no_positive() -> None:
    found = gather(
        {
            # Of q0 two positives rank above the second other document and one below it.
            "bm25": hits(
                *((0, "p", 9.0), (0, "a", 8.0), (0, "r", 7.0), (0, "b", 6.0)),
                *((0, "s", 5.0), (0, "c", 4.0), (1, "x", 3.0), (1, "y", 2.0), (1, "z", 1.0)),
            ),
            "given": hits((0, "c", np.nan), (0, "d", np.nan), (0, "e", np.nan)),
        },
        judgements((0, "p", 1), (0, "r", 1), (0, "s", 1), (1, "y", 0)),
        {"bm25": (0, 2)},
    )
    pairs = list(zip(found.query.tolist(), found.docid.to_pylist(), strict=True))
    rank = dict(zip(pairs, found.rank["bm25"].tolist(), strict=True))
    assert {pair: place for pair, place in rank.items() if place} == {
        **{(0, "p"): 1, (0, "a"): 2, (0, "r"): 3, (0, "b"): 4},
        **{(1, "x"): 1, (1, "y"): 2},
    }
    # The positive below the cut is a row all the same, and so is all that was given.
    assert [pair for pair, place in rank.items() if not place] == [
        *((0, "c"), (0, "d"), (0, "e"), (0, "s"))
    ]
    assert found.not_found_by("bm25").tolist() == [2, 3, 4, 7]
    assert found.not_found_by("bm25", positives_only=True).tolist() == [7]


def test_a_slice_of_a_ranking_is_one_of_the_documents_that_are_no_positives() -> None:
    ranked = hits(
        *((0, "p", 9.0), (0, "a", 8.0), (0, "r", 7.0), (0, "b", 6.0), (0, "c", 5.5)),
        *((0, "s", 5.0), (0, "d", 4.0), (1, "x", 3.0), (1, "y", 2.0)),
    )
    known = judgements((0, "p", 1), (0, "r", 1), (0, "s", 1), (1, "y", 0))
    for taken, expected in {
        (1, 3): {(0, "p"): 1, (0, "r"): 3, (0, "b"): 4, (0, "c"): 5, (1, "y"): 2},
        (2, 4): {(0, "p"): 1, (0, "r"): 3, (0, "c"): 5, (0, "s"): 6, (0, "d"): 7},
        (4, 9): {(0, "p"): 1, (0, "r"): 3, (0, "s"): 6},
    }.items():
        found = gather({"bm25": ranked}, known, {"bm25": taken})
        pairs = list(zip(found.query.tolist(), found.docid.to_pylist(), strict=True))
        rank = dict(zip(pairs, found.rank["bm25"].tolist(), strict=True))
        assert {pair: place for pair, place in rank.items() if place} == expected


pairs = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("abcdefg"), st.integers(0, 5)),
    unique_by=lambda row: row[:2],
)


@given(
    pairs, pairs, st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefg")), unique=True)
)
def test_the_union_is_what_sets_say(
    first: list[tuple[int, str, int]],
    second: list[tuple[int, str, int]],
    positives: list[tuple[int, str]],
) -> None:
    def ranked(rows: list[tuple[int, str, int]]) -> list[tuple[int, str, float]]:
        return [(q, d, float(s)) for q, d, s in sorted(rows, key=lambda r: (r[0], -r[2], r[1]))]

    found = {"one": ranked(first), "two": ranked(second)}
    known = judgements(*sorted((q, d, 1) for q, d in positives))
    scores = np.full(len(positives), 0.5, dtype=np.float32)
    table = union(
        pa.array(["q0", "q1", "q2", "q3"]),
        {name: hits(*rows) for name, rows in found.items()},
        known,
        {"one": scores, "two": scores},
    ).to_pylist()
    got = {(int(row["qid"][1:]), row["docid"]): row for row in table}
    expected = {(q, d) for rows in found.values() for q, d, _ in rows} | set(positives)
    assert len(got) == len(table)
    assert set(got) == expected
    for pair, row in got.items():
        assert row["label"] == (pair in set(positives))
        for name, rows in found.items():
            mine = [r for r in rows if r[0] == pair[0]]
            place = (
                [r[1] for r in mine].index(pair[1]) + 1 if pair[1] in [r[1] for r in mine] else None
            )
            assert row[f"rank_{name}"] == place
            if place is not None:
                assert row[f"score_{name}"] == mine[place - 1][2]
            elif pair in set(positives):
                assert row[f"score_{name}"] == 0.5
            else:
                assert row[f"score_{name}"] is None
    order = [int(row["qid"][1:]) for row in table]
    assert order == sorted(order)

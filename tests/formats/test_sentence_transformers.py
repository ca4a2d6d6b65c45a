"""The four layouts of sentence-transformers: exact tables, and its own miner's as the oracle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine import formats
from negmine.formats.base import Chosen, Options, nothing, tables


def rows(name: str, chosen: Chosen, n: int = 2, **options: Any) -> list[dict[str, Any]]:
    settings = Options(
        scores=options.get("scores", False), ids=options.get("ids", False), num_negatives=n
    )
    examples = formats.load(name).layout(chosen, settings)
    made = pa.concat_tables(tables(examples, chosen))
    assert made.num_rows == examples.count
    assert made.schema == examples.schema
    return made.to_pylist()


def columns(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def test_a_triplet_per_positive_and_negative(chosen: Chosen) -> None:
    made = rows("triplet", chosen)
    assert columns(made, "anchor", "positive", "negative") == [
        ("one?", "A", "D"),
        ("one?", "A", "E"),
        ("one?", "B", "D"),
        ("one?", "B", "E"),
        ("two?", "C", "A"),
    ]
    assert list(made[0]) == ["anchor", "positive", "negative"]


def test_triplets_with_scores_and_ids(chosen: Chosen) -> None:
    made = rows("triplet", chosen, scores=True, ids=True)
    assert list(made[0]) == [
        *("anchor", "positive", "negative", "scores"),
        *("qid", "positive_docid", "negative_docid"),
    ]
    assert columns(made, "scores", "qid", "positive_docid", "negative_docid") == [
        ([9.0, 5.0], "q1", "a", "d"),
        ([9.0, 4.0], "q1", "a", "e"),
        ([8.0, 5.0], "q1", "b", "d"),
        ([8.0, 4.0], "q1", "b", "e"),
        # What a scorer did not see is null, never a number.
        ([7.0, None], "q2", "c", "a"),
    ]


def test_n_tuples_are_of_complete_queries(chosen: Chosen) -> None:
    made = rows("n-tuple", chosen, scores=True, ids=True)
    assert columns(made, "anchor", "positive", "negative_1", "negative_2", "scores") == [
        ("one?", "A", "D", "E", [9.0, 5.0, 4.0]),
        ("one?", "B", "D", "E", [8.0, 5.0, 4.0]),
    ]
    assert columns(made, "qid", "positive_docid", "negative_1_docid", "negative_2_docid") == [
        ("q1", "a", "d", "e"),
        ("q1", "b", "d", "e"),
    ]


def test_labeled_pairs_say_each_document_once(chosen: Chosen) -> None:
    assert columns(rows("labeled-pair", chosen), "anchor", "document", "label") == [
        ("one?", "A", 1),
        ("one?", "B", 1),
        ("one?", "D", 0),
        ("one?", "E", 0),
        ("two?", "C", 1),
        ("two?", "A", 0),
    ]
    scored = rows("labeled-pair", chosen, scores=True, ids=True)
    assert list(scored[0]) == ["anchor", "document", "score", "qid", "docid"]
    assert [row["score"] for row in scored] == [9.0, 8.0, 5.0, 4.0, 7.0, None]


def test_labeled_lists_begin_with_their_positive(chosen: Chosen) -> None:
    assert columns(rows("labeled-list", chosen), "anchor", "documents", "labels") == [
        ("one?", ["A", "D", "E"], [1, 0, 0]),
        ("one?", ["B", "D", "E"], [1, 0, 0]),
        ("two?", ["C", "A"], [1, 0]),
    ]
    scored = rows("labeled-list", chosen, scores=True, ids=True)
    assert columns(scored, "scores", "qid", "docids") == [
        ([9.0, 5.0, 4.0], "q1", ["a", "d", "e"]),
        ([8.0, 5.0, 4.0], "q1", ["b", "d", "e"]),
        ([7.0, None], "q2", ["c", "a"]),
    ]


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("triplet", 2), ("n-tuple", 3), ("labeled-pair", 2), ("labeled-list", 2)],
)
def test_short_queries_are_counted(chosen: Chosen, name: str, left_out: int) -> None:
    options = Options(scores=False, ids=False, num_negatives=2)
    assert formats.load(name).layout(chosen, options).queries_left_out == left_out


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
@pytest.mark.parametrize("scores", [False, True])
def test_no_choice_gives_no_example_of_the_same_schema(
    chosen: Chosen, name: str, scores: bool
) -> None:
    layout = formats.load(name).layout
    options = Options(scores=scores, ids=True, num_negatives=2)
    empty = layout(nothing(["bm25", "dense"]), options)
    assert empty.count == 0
    assert empty.schema == layout(chosen, options).schema
    (table,) = tables(empty, nothing(["bm25", "dense"]))
    assert table.num_rows == 0


# --- the oracle -------------------------------------------------------------------------------

QUERIES = ["the heart of mice", "gene therapy", "a cell is not the heart"]
DOCUMENTS = [
    "the heart of mice is not a cell",
    "gene therapy in mice",
    "a cell of the heart",
    "therapy 42",
    "not the heart",
    "the gene of a cell in the heart",
    "mice",
]
#: Query 0 has two positives.
POSITIVES = [(0, 0), (0, 4), (1, 1), (2, 2)]
NEGATIVES = 2


@pytest.mark.real
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("triplet", ["negative"]),
        ("n-tuple", ["negative_1", "negative_2"]),
        ("labeled-pair", []),
        ("labeled-list", []),
    ],
)
def test_the_tables_are_those_of_mine_hard_negatives(
    tiny_bi: Path, name: str, text: list[str], scores: bool
) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    model = SentenceTransformer(str(tiny_bi), device="cpu")
    pairs = Dataset.from_dict(
        {
            "anchor": [QUERIES[q] for q, _ in POSITIVES],
            "their_own": [DOCUMENTS[d] for _, d in POSITIVES],
        }
    )
    theirs: Dataset = mine_hard_negatives(
        pairs,
        model,
        corpus=DOCUMENTS,
        num_negatives=NEGATIVES,
        max_score=0.999,
        output_format=name,  # type: ignore[arg-type]
        output_scores=scores,
        verbose=False,
    )
    queries = np.asarray(model.encode_query(QUERIES), dtype=np.float64)
    documents = np.asarray(model.encode_document(DOCUMENTS), dtype=np.float64)
    similarity = np.asarray(model.similarity(queries, documents), dtype=np.float64)
    known = {q: {d for a, d in POSITIVES if a == q} for q in range(len(QUERIES))}
    negatives = [
        (q, d)
        for q in range(len(QUERIES))
        for d in [
            d
            for d in np.argsort(-similarity[q]).tolist()
            if d not in known[q] and similarity[q, d] <= 0.999
        ][:NEGATIVES]
    ]
    ours = rows(
        name,
        Chosen(
            qids=pa.array(["0", "1", "2"]),
            query_texts=pa.array(QUERIES),
            docids=pa.array([str(i) for i in range(len(DOCUMENTS))]),
            doc_texts=pa.array(DOCUMENTS, pa.large_string()),
            positive_query=np.array([q for q, _ in POSITIVES]),
            positive_doc=np.array([d for _, d in POSITIVES]),
            positive_score=np.array([similarity[q, d] for q, d in POSITIVES]),
            negative_query=np.array([q for q, _ in negatives]),
            negative_doc=np.array([d for _, d in negatives]),
            negative_score=np.array([similarity[q, d] for q, d in negatives]),
        ),
        n=NEGATIVES,
        scores=scores,
    )
    # Their second column keeps the data set's own name, whatever it holds.
    second = {"triplet": "positive", "n-tuple": "positive", "labeled-pair": "document"}
    renamed = theirs.rename_columns({"their_own": second.get(name, "documents")})
    assert list(ours[0]) == renamed.column_names
    assert len(ours) == renamed.num_rows
    for mine, other in zip(ours, renamed, strict=True):
        for key, value in mine.items():
            expected = other[key]
            if key in ("score", "scores"):
                pairs_ = zip(np.ravel(value), np.ravel(expected), strict=True)
                assert all(math.isclose(a, b, abs_tol=1e-5) for a, b in pairs_)
            else:
                assert value == expected

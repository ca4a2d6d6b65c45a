"""A hand-made part of a ledger, and a ledger on disk made without models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.formats.base import Chosen
from negmine.params import FilterParams
from negmine.stages import filter as filtering
from tests.tables import make_scored


@pytest.fixture
def chosen() -> Chosen:
    """q1: two positives and two negatives; q2: one and one; q3: a positive; q4: a negative."""
    return Chosen(
        qids=pa.array(["q1", "q2", "q3", "q4"]),
        query_texts=pa.array(["one?", "two?", "three?", "four?"]),
        docids=pa.array(["a", "b", "c", "d", "e"]),
        doc_texts=pa.array(["A", "B", "C", "D", "E"], pa.large_string()),
        positive_query=np.array([0, 0, 1, 2]),
        positive_doc=np.array([0, 1, 2, 4]),
        positive_score=np.array([9.0, 8.0, 7.0, 6.0]),
        negative_query=np.array([0, 0, 1, 3]),
        negative_doc=np.array([3, 4, 0, 1]),
        negative_score=np.array([5.0, 4.0, np.nan, 3.0]),
        negative_ranks={"bm25": np.array([2, 1, 0, 1]), "dense": np.array([0, 3, 1, 0])},
    )


def row(qid: str, docid: str, label: int, score: float, rank: int) -> dict[str, Any]:
    return {
        "qid": qid,
        "docid": docid,
        "label": label,
        "grade": label or None,
        "rank_bm25": rank,
        "score_bm25": 20.0 - rank,
        "score_ce": score,
    }


def make_ledger(
    folder: Path, queries: int = 6, negatives: int = 3, parts: int = 2, **params: Any
) -> Path:
    """A ledger of queries with one or two positives; ids are integers, the texts tell them."""
    per_part: list[list[dict[str, Any]]] = [[] for _ in range(parts)]
    texts: dict[str, str] = {}
    asked: dict[str, str] = {}
    for q in range(queries):
        rows = [row(str(q), str(1000 + q), 1, 9.0, 1)]
        if q % 2:
            rows.append(row(str(q), str(2000 + q), 1, 8.0, 2))
        rows += [
            row(str(q), str(3000 + (q * 7 + n) % (queries * 2)), 0, 5.0 - n, 3 + n)
            for n in range(negatives)
        ]
        asked[str(q)] = f"what is number {q} {['gene', 'cell', 'heart', 'mice'][q % 4]}"
        texts |= {r["docid"]: f"passage {r['docid']} of the heart therapy" for r in rows}
        per_part[q * parts // queries] += rows
    scored = make_scored(
        folder, per_part, sources=("bm25",), scorers=("ce",), doc_texts=texts, query_texts=asked
    )
    settings: dict[str, Any] = {"num_negatives": negatives}
    settings |= {"same_text": False, "near_duplicates": False}
    settings |= {"query_text": False, "duplicate_queries": False} | params
    filtering.run(FilterParams(**settings), scored, folder / "ledger")
    return folder / "ledger"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return make_ledger(tmp_path)

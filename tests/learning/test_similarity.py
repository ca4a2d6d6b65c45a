"""Likeness to the known positives: nothing of a row's own label may show in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.errors import UsageError
from negmine.learning import relevance, similarity
from negmine.params import FilterParams
from negmine.stages import filter as filtering
from negmine.table import artifacts
from negmine.table.names import likeness_column
from tests.tables import make_scored


def test_every_row_is_compared_with_one_positive_fewer_than_there_are() -> None:
    query = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
    positive = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 0], dtype=bool)
    draw = np.array([0.0, 0.0, 0.0, 0.0, 0.99, 0.5, 0.5, 0.5, 0.5, 0.5])
    found = similarity.pairs(query, positive, draw)
    compared: dict[int, list[int]] = {}
    for left, right in zip(found.left.tolist(), found.right.tolist(), strict=True):
        compared.setdefault(left, []).append(right)
    assert compared == {
        0: [2, 3],
        1: [2, 3],
        2: [0, 3],
        3: [0, 2],
        4: [0, 2],
        7: [8],
        8: [7],
        9: [7],
    }
    values = np.arange(len(found.left), dtype=float)
    mean, greatest = found.mean(values), found.greatest(values)
    assert mean[:5].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert greatest[:5].tolist() == [1, 3, 5, 7, 9]
    assert np.isnan(mean[[5, 6]]).all()
    assert np.isnan(greatest[[5, 6]]).all()


def table(likeness: tuple[np.ndarray, np.ndarray], query: np.ndarray, label: np.ndarray) -> Any:
    """A candidates table whose scores are noise, with two likeness columns."""
    rng = np.random.default_rng(1)
    rank = np.concatenate([rng.permutation(n) + 1 for n in np.bincount(query)])
    columns = {
        "qid": pa.array([f"q{number:03d}" for number in query]),
        "docid": pa.array([f"d{number}" for number in range(len(query))]),
        "label": pa.array(label.astype(np.int8)),
        "grade": pa.nulls(len(query), pa.float64()),
        "rank_bm25": pa.array(rank.astype(np.int32)),
        "score_bm25": pa.array((1.0 / rank).astype(np.float32)),
    }
    for statistic, values in zip(("mean", "max"), likeness, strict=True):
        columns[likeness_column("text", statistic)] = pa.array(
            values.astype(np.float32), mask=np.isnan(values)
        )
    return pa.table(columns)


def auc(
    pairs: similarity.Pairs, vectors: np.ndarray, query: np.ndarray, label: np.ndarray
) -> float:
    cosine = np.einsum("ij,ij->i", vectors[pairs.left], vectors[pairs.right])
    made = table((pairs.mean(cosine), pairs.greatest(cosine)), query, label)
    facts = relevance.learn([relevance.taught(made, made.num_rows, 0)], 0).facts
    return float(facts["similar_to_positives"]["auc"])


@pytest.mark.parametrize("positives", [2, 4])
def test_shuffled_labels_are_not_predicted(positives: int) -> None:
    rng = np.random.default_rng(positives)
    queries, rows = 200, 30
    query = np.repeat(np.arange(queries), rows)
    # Documents of a query are like each other, some more, as retrieved ones are.
    centre = rng.normal(size=(queries, 16))[query]
    vectors = centre + rng.normal(size=(len(query), 16)) * rng.uniform(0.5, 2, len(query))[:, None]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    label = np.tile(np.arange(rows) < positives, queries)
    label = np.concatenate([rng.permutation(label[query == q]) for q in range(queries)])
    draw = rng.random(len(query))
    assert auc(similarity.pairs(query, label, draw), vectors, query, label) == pytest.approx(
        0.5, abs=0.05
    )
    # Compared with all others that are known, the same labels show.
    known = np.flatnonzero(label)
    left = np.repeat(np.arange(len(query)), positives)
    right = known[(query[:, None] * positives + np.arange(positives)).ravel()]
    naive = similarity.Pairs(left[left != right], right[left != right], len(query))
    assert auc(naive, vectors, query, label) > 0.58


def scored(folder: Path, single: int = 0) -> Path:
    """60 queries of three positives with words in common (the first ``single`` have one)."""
    rng = np.random.default_rng(0)
    rows, texts = [], {}
    for q in range(60):
        ranks = rng.permutation(12) + 1
        for d in range(12):
            docid = f"d{q}x{d}"
            own = " ".join(f"w{number}" for number in rng.integers(0, 1000, 30))
            shared = " ".join(f"q{q}w{number}" for number in range(10))
            texts[docid] = f"{shared} {own}" if d < 3 else own
            rows.append(
                {
                    "qid": f"q{q:03d}",
                    "docid": docid,
                    "label": int(d < (1 if q < single else 3)),
                    "rank_bm25": int(ranks[d]),
                    "score_bm25": float(1 / ranks[d]),
                    "score_ce": float(rng.normal(d < 3)),
                }
            )
    return make_scored(folder, [rows[:360], rows[360:]], sources=("bm25",), doc_texts=texts)


def run(folder: Path, source: Path, **options: Any) -> tuple[pa.Table, dict[str, Any]]:
    filtering.run(
        FilterParams(by="p_relevant", **options), source, folder, replacing=artifacts.Replace.ALL
    )
    ledger = artifacts.open_artifact(folder)
    return pa.concat_tables(map(ledger.read, ledger.parts)), dict(ledger.manifest["p_relevant"])


def test_likeness_helps_where_positives_are_alike(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    source = scored(tmp_path, single=20)
    ledger, facts = run(tmp_path / "l", source, similar_to_positives=True)
    assert facts["similar_to_positives"]["auc"] > facts["similar_to_positives"]["auc_without"] + 0.1
    # Of the 120 there are; those below every other row teach nothing.
    assert 90 < facts["similar_to_positives"]["positives"] <= 120
    assert not [name for name in ledger.column_names if name.startswith("like_")]
    # Queries with a single positive are answered as without.
    plain, without = run(tmp_path / "p", source)
    assert "similar_to_positives" not in without
    single = np.array([q < "q020" for q in ledger.column("qid").to_pylist()])
    left = ledger.column("score_p_relevant").to_numpy()
    right = plain.column("score_p_relevant").to_numpy()
    assert left[single].tolist() == right[single].tolist()
    assert (left[~single] != right[~single]).mean() > 0.99


def test_too_few_positives_beside_others_leave_it_out(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    source = scored(tmp_path, single=56)
    ledger, facts = run(tmp_path / "l", source, similar_to_positives=True)
    assert "fewer than" in facts["similar_to_positives"]["left_out"]
    plain, _ = run(tmp_path / "p", source)
    assert ledger.equals(plain)


def test_it_is_refused_where_nothing_reads_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="read by p_relevant alone"):
        filtering.run(
            FilterParams(by="ce", similar_to_positives=True), scored(tmp_path), tmp_path / "l"
        )

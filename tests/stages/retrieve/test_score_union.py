"""Every source scores what the others found, and k counts beside a query's positives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negmine.sources.base import Asked, Hits
from negmine.sources.union import Judgements
from negmine.stages.retrieve import mining
from negmine.stages.retrieve.depths import depths, search
from tests.chains import parts
from tests.conftest import Invoke, write_jsonl

WORDS = ["the heart", "of mice", "gene therapy", "a cell", "not in", "is 42", "% of"]
DOCUMENTS = [f"{WORDS[i % 7]} {WORDS[i // 7 % 7]} {WORDS[(3 * i) % 7]}" for i in range(49)]
QUERIES = [f"{WORDS[i]} {WORDS[(i + 2) % 7]}" for i in range(7)]
#: Of the first query a dozen documents are positives, of the others one each.
POSITIVES = [(0, d) for d in range(0, 48, 4)] + [(q, 7 * q) for q in range(1, 7)]
K = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_jsonl(
        tmp_path / "corpus.jsonl", [{"_id": f"d{i}", "text": t} for i, t in enumerate(DOCUMENTS)]
    )
    write_jsonl(
        tmp_path / "queries.jsonl", [{"_id": f"q{i}", "text": t} for i, t in enumerate(QUERIES)]
    )
    write_jsonl(
        tmp_path / "qrels.jsonl", [{"qid": f"q{q}", "docid": f"d{d}"} for q, d in POSITIVES]
    )
    return tmp_path


def retrieve(invoke: Invoke, data: Path, name: str, *more: Any) -> dict[tuple[str, str], Any]:
    result = invoke(
        *("retrieve", data / "index", "--queries", data, "--qrels", data / "qrels.jsonl"),
        *("-o", data / name, *more),
    )
    assert result.exit_code == 0, result.output
    return {(row["qid"], row["docid"]): row for row in pq.read_table(data / name).to_pylist()}


def test_what_one_source_found_is_scored_by_the_other(
    invoke: Invoke, data: Path, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers import SentenceTransformer

    made = invoke(
        *("index", "--corpus", data, "--encoder", f"tiny={tiny_bi}", "-o", data / "index"),
        *("--vectors", "float32", "--dtype", "float32"),
    )
    assert made.exit_code == 0, made.output
    rows = retrieve(invoke, data, "scored", "-k", K)
    # Where all is found there is nothing to score.
    deep = retrieve(invoke, data, "deep", "-k", len(DOCUMENTS))
    model = SentenceTransformer(str(tiny_bi), device="cpu")
    unit = {"normalize_embeddings": True}
    cosine = model.encode_query(QUERIES, **unit) @ model.encode_document(DOCUMENTS, **unit).T
    only_bm25 = [
        pair for pair, row in rows.items() if row["rank_tiny"] is None and not row["label"]
    ]
    only_tiny = [
        pair for pair, row in rows.items() if row["rank_bm25"] is None and not row["label"]
    ]
    assert len(only_bm25) > 5
    assert len(only_tiny) > 5
    for (qid, docid), row in rows.items():
        assert row["score_tiny"] == deep[qid, docid]["score_tiny"]
        np.testing.assert_allclose(
            row["score_tiny"], cosine[int(qid[1:]), int(docid[1:])], atol=1e-5
        )
        found = deep[qid, docid]["rank_bm25"] is not None
        # Lucene finds what shares a term; what shares none scores nothing.
        assert row["score_bm25"] == (deep[qid, docid]["score_bm25"] if found else 0.0)
    # The ranks are what was found: the same without.
    bare = retrieve(invoke, data, "bare", "-k", K, "--no-score-union")
    assert bare.keys() == rows.keys()
    for pair, row in bare.items():
        for source in ("bm25", "tiny"):
            assert row[f"rank_{source}"] == rows[pair][f"rank_{source}"]
            known = row[f"rank_{source}"] is not None or row["label"] == 1
            assert row[f"score_{source}"] == (rows[pair][f"score_{source}"] if known else None)

    # Nothing is left without a score of the encoder's, so nothing is dropped for want of one.
    filtered = ["--num-negatives", 2, "--by", "tiny", "--relative-margin", "0.05"]
    for name, dropped in (("scored", False), ("bare", True)):
        out = data / f"{name}-ledger"
        result = invoke("filter", data / name, *filtered, "-o", out)
        assert result.exit_code == 0, result.output
        assert ("unscored" in pq.read_table(out)["dropped_by"].to_pylist()) == dropped

    # Neither where parts end together nor how many are searched at a time shows in the bytes.
    monkeypatch.setattr(mining, "PART_ROWS", 2 * K)
    retrieve(invoke, data, "one", "-k", K)
    monkeypatch.setattr(mining, "_RANKED_HIT", 1 << 40)
    retrieve(invoke, data, "two", "-k", K)
    assert len(list((data / "one").glob("part-*"))) == 7
    assert parts(data / "one") == parts(data / "two")
    whole = pq.read_table(data / "scored").to_pylist()
    assert pq.read_table(data / "one").to_pylist() == whole

    # A query with a dozen positives has its k candidates, as one with a single one has.
    for query in range(len(QUERIES)):
        for source in ("bm25", "tiny"):
            counts = [
                sum(
                    row["label"] == 0 and row[f"rank_{source}"] is not None
                    for (qid, _), row in table.items()
                    if qid == f"q{query}"
                )
                for table in (rows, deep)
            ]
            assert counts[0] == min(K, counts[1])


class Table:
    """A source of given scores, float [queries, documents], that notes what it is asked."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self.asked: list[tuple[int, int]] = []

    def search(self, asked: Asked, k: int) -> Hits:
        self.asked.append((len(asked), k))
        rows = np.array([int(text) for text in asked.texts], dtype=np.int64)
        best = np.argsort(-self.scores[rows], axis=1)[:, :k]
        query = np.repeat(np.arange(len(rows), dtype=np.int32), best.shape[1])
        docid = pa.array([f"d{doc}" for doc in best.ravel()])
        return Hits(query, docid, np.take_along_axis(self.scores[rows], best, axis=1).ravel())

    def close(self) -> None:
        pass


def judged(*positives: int) -> Judgements:
    """So many positives of each query."""
    query = np.repeat(np.arange(len(positives), dtype=np.int32), positives)
    docid = pa.array([f"d{number}" for n in positives for number in range(n)])
    return Judgements(query, docid, np.ones(len(query), np.int32), np.ones(len(query), bool))


def test_one_query_with_many_positives_costs_the_others_nothing() -> None:
    known = judged(1, 292, 0, 5, 1, 65, 64, 16, 17, 4)
    depth = depths(known, 10, 100)
    assert depth.tolist() == [104, 612, 104, 116, 104, 228, 164, 116, 164, 104]
    assert depths(known, 12, 1)[10:].tolist() == [5, 5]


def test_hits_of_several_depths_are_those_of_each_alone() -> None:
    scores = np.random.default_rng(1).random((6, 40)).astype(np.float32)
    source = Table(scores)
    depth = np.array([5, 20, 5, 9, 20, 5])
    hits = search(source, Asked.by_text([str(row) for row in range(6)]), depth)
    assert source.asked == [(3, 5), (1, 9), (2, 20)]
    assert np.bincount(hits.query).tolist() == depth.tolist()
    assert (np.diff(hits.query) >= 0).all()
    for row in range(6):
        alone = source.search(Asked.by_text([str(row)]), int(depth[row]))
        mine = hits.query == row
        assert hits.docid.filter(pa.array(mine)).equals(alone.docid)
        np.testing.assert_array_equal(hits.score[mine], alone.score)


def test_more_positives_than_k_leave_k_candidates(invoke: Invoke, tmp_path: Path) -> None:
    """5,000 documents that answer, 30 that do not, all with the query's word."""
    count, others = 5_000, 30
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [{"_id": f"p{i}", "text": "heart heart heart"} for i in range(count)]
        + [{"_id": f"n{i}", "text": f"heart of case {i}"} for i in range(others)],
    )
    write_jsonl(
        tmp_path / "queries.jsonl",
        [{"_id": "many", "text": "heart"}, {"_id": "one", "text": "case 7"}],
    )
    write_jsonl(
        tmp_path / "qrels.jsonl",
        [{"qid": "many", "docid": f"p{i}"} for i in range(count)] + [{"qid": "one", "docid": "n7"}],
    )
    assert invoke("index", "--corpus", tmp_path, "-o", tmp_path / "index").exit_code == 0
    result = invoke(
        *("retrieve", tmp_path / "index", "--queries", tmp_path),
        *("--qrels", tmp_path / "qrels.jsonl", "-k", 20, "-o", tmp_path / "candidates"),
    )
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "candidates").to_pylist()
    for qid in ("many", "one"):
        assert sum(row["qid"] == qid and row["label"] == 0 for row in rows) == 20
    assert "no candidate beside" not in result.stderr
    assert sum(row["qid"] == "one" for row in rows) == 21


def test_a_query_of_which_all_that_is_found_is_positive_is_told(
    invoke: Invoke, tmp_path: Path
) -> None:
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [{"_id": f"p{i}", "text": "heart"} for i in range(3)] + [{"_id": "n", "text": "gene"}],
    )
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q", "text": "heart"}])
    write_jsonl(tmp_path / "qrels.jsonl", [{"qid": "q", "docid": f"p{i}"} for i in range(3)])
    assert invoke("index", "--corpus", tmp_path, "-o", tmp_path / "index").exit_code == 0
    result = invoke(
        *("retrieve", tmp_path / "index", "--queries", tmp_path),
        *("--qrels", tmp_path / "qrels.jsonl", "-o", tmp_path / "candidates"),
    )
    assert result.exit_code == 0, result.output
    assert "1 queries have no candidate beside their positives: no source found" in result.stderr

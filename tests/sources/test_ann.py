"""Approximate search: what it finds is scored exactly, and what it misses is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import memory
from negmine.errors import InvalidDataError, UsageError
from negmine.sources import ann, dense
from negmine.table import artifact as artifacts
from negmine.table.artifact import Artifact, Plan
from tests.chains import make_data
from tests.conftest import Invoke
from tests.sources.test_dense import DIMENSION, LookupEncoder, collection

BUDGET = memory.Budget(8 << 30)


def built(folder: Path, vectors: dense.Vectors, factory: str, memory_: str = "8GB") -> Artifact:
    writer = artifacts.begin(folder, Plan("index.ann", 2, {"factory": factory}))
    assert writer is not None
    budget = memory.Budget(memory.parse(memory_, "--memory"))
    with writer:
        writer.add_folder(
            ann.FOLDER,
            lambda path: {"vectors": ann.build(vectors, factory, path, budget)},
        )
        counts = writer.stats(ann.FOLDER)
        assert counts == {"vectors": len(vectors)}
        return writer.commit(counts)


@pytest.fixture
def clustered() -> np.ndarray:
    """Forty clusters of fifty."""
    rng = np.random.default_rng(3)
    centres = np.repeat(rng.standard_normal((40, DIMENSION)), 50, axis=0)
    vectors = centres + 0.3 * rng.standard_normal(centres.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("factory", "few", "many"),
    [("IVF40,Flat", "nprobe=1", "nprobe=40"), ("HNSW8", "efSearch=1", "efSearch=2000")],
)
def test_recall_is_what_is_found_of_the_exact_best(
    tmp_path: Path, clustered: np.ndarray, factory: str, few: str, many: str
) -> None:
    rng = np.random.default_rng(5)
    ids = [f"d{i:04d}" for i in range(len(clustered))]
    documents, stored = collection(tmp_path, clustered, ids, 700, "float16")
    index = built(tmp_path / "ann", stored, factory)
    queries = rng.standard_normal((30, DIMENSION)).astype(np.float32)
    texts = [f"q{i}" for i in range(30)]
    encoder = LookupEncoder(dict(zip(texts, queries, strict=True)))
    exact = dense.DenseSource(documents, stored, lambda: encoder).search(texts, 20)
    best = set(zip(exact.query.tolist(), exact.docid.to_pylist(), strict=True))
    scores = dict(
        zip(
            zip(exact.query.tolist(), exact.docid.to_pylist(), strict=True),
            exact.score.tolist(),
            strict=True,
        )
    )
    recalls = {}
    for settings in (few, many):
        source = dense.DenseSource(
            documents, stored, lambda: encoder, ann=ann.open_index(index, settings)
        )
        found = source.search(texts, 20)
        pairs = list(zip(found.query.tolist(), found.docid.to_pylist(), strict=True))
        assert source.recall is not None
        assert source.recall["queries"] == 30
        # The search fetches a few more than the recall is told of.
        assert source.recall["recall"] <= len(best & set(pairs)) / len(best) + 1e-4
        recalls[settings] = source.recall["recall"]
        # Whatever is found has its exact score, in rank order.
        for pair, score in zip(pairs, found.score.tolist(), strict=True):
            assert score == scores.get(pair, score)
        again = source.score(texts, found.query, found.docid)
        np.testing.assert_array_equal(again, found.score)
        assert (np.diff(found.score)[np.diff(found.query) == 0] <= 0).all()
    assert recalls[many] == 1
    assert recalls[few] < 0.9


def test_unknown_factories_and_settings_are_refused(tmp_path: Path, clustered: np.ndarray) -> None:
    _, stored = collection(tmp_path, clustered[:60], [str(i) for i in range(60)], 50)
    with pytest.raises(UsageError, match="FAISS makes no index 'IVF,,x'"):
        ann.build(stored, "IVF,,x", tmp_path, BUDGET)
    with pytest.raises(UsageError, match="cannot be trained on 60 vectors"):
        ann.build(stored, "IVF100,Flat", tmp_path, BUDGET)
    index = built(tmp_path / "ann", stored, "IVF2,Flat")
    with pytest.raises(UsageError, match="no such settings"):
        ann.open_index(index, "nosuch=3")


def test_an_index_that_was_changed_is_not_read(tmp_path: Path, clustered: np.ndarray) -> None:
    _, stored = collection(tmp_path, clustered[:60], [str(i) for i in range(60)], 50)
    index = built(tmp_path / "ann", stored, "HNSW4")
    with (index.path / ann.FOLDER / "index.faiss").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\xff\xff\xff")
    with pytest.raises(InvalidDataError, match="wrong checksum"):
        ann.open_index(index, "")


def test_the_stages_build_search_and_tell(tmp_path: Path, invoke: Invoke, tiny_bi: Path) -> None:
    data, work = make_data(tmp_path / "data"), tmp_path / "work"
    index = ["index", "--corpus", data, "-o", work / "index", "--no-bm25"]
    encoder = ["--encoder", f"tiny={tiny_bi}"]
    retrieve: list[Any] = ["retrieve", work / "index", "--queries", data]
    retrieve += ["--qrels", data / "qrels.tsv", "-k", 5]
    assert invoke(*index, *encoder).exit_code == 0
    refused = invoke(*retrieve, "--ann", "", "-o", work / "none")
    assert refused.exit_code == 2
    assert "index ... --ann" in refused.stderr
    assert invoke(*index, *encoder, "--ann", "HNSW8").exit_code == 0
    # Asked for without it, the index keeps it.
    assert invoke(*index, *encoder).exit_code == 0
    result = invoke(*retrieve, "--ann", "efSearch=500", "-o", work / "ann")
    assert result.exit_code == 0, result.output
    assert "finds 100.0% of the exact best 5 (24 queries, HNSW8, efSearch=500)" in result.stderr
    manifest = json.loads((work / "ann" / "_manifest.json").read_text())
    assert manifest["ann"]["tiny"]["recall"] == 1
    assert manifest["inputs"]["ann tiny"]["stage"] == "index.ann"
    assert invoke(*retrieve, "-o", work / "exact").exit_code == 0
    assert pq.read_table(work / "ann").equals(pq.read_table(work / "exact"))
    # The candidates of an approximate search go on like any others.
    assert invoke("filter", work / "ann", "-o", work / "ledger").exit_code == 0

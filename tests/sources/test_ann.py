"""Approximate search: what it finds is scored exactly, and what it misses is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest

from negmine import memory
from negmine.errors import InvalidDataError, UsageError
from negmine.sources import ann, dense, ivf
from negmine.sources import vectors as sources_vectors
from negmine.sources.base import Asked
from negmine.table import artifacts
from negmine.table.artifacts import Artifact, Plan
from tests.chains import make_data
from tests.conftest import ROOT, Invoke
from tests.sources.test_dense import DIMENSION, LookupEncoder, collection

BUDGET = memory.Budget(8 << 30)


def built(
    folder: Path, vectors: sources_vectors.Vectors, factory: str, memory_: str = "8GB"
) -> Artifact:
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
    exact = dense.DenseSource(documents, stored, lambda: encoder).search(Asked.by_text(texts), 20)
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
        found = source.search(Asked.by_text(texts), 20)
        pairs = list(zip(found.query.tolist(), found.docid.to_pylist(), strict=True))
        assert source.recall is not None
        assert source.recall["queries"] == 30
        # The search fetches a few more than the recall is told of.
        assert source.recall["recall"] <= len(best & set(pairs)) / len(best) + 1e-4
        recalls[settings] = source.recall["recall"]
        # Whatever is found has its exact score, in rank order.
        for pair, score in zip(pairs, found.score.tolist(), strict=True):
            assert score == scores.get(pair, score)
        again = source.score(Asked.by_text(texts), found.query, found.docid)
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


@pytest.mark.parametrize("factory", ["IVF20,Flat", "IVF20,PQ8x4fs", "HNSW8"])
def test_the_index_is_faiss_own(tmp_path: Path, clustered: np.ndarray, factory: str) -> None:
    """Trained on the same sample, given the same vectors in the same order."""
    _, stored = collection(tmp_path, clustered, [f"d{i}" for i in range(len(clustered))], 700)
    threads = faiss.omp_get_max_threads()
    # A graph built with several is not the same twice.
    faiss.omp_set_num_threads(1)
    try:
        index = built(tmp_path / "ann", stored, factory)
        whole = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
        whole.train(clustered)
        for start in range(0, len(clustered), 700):
            whole.add(clustered[start : start + 700])
    finally:
        faiss.omp_set_num_threads(threads)
    queries = np.random.default_rng(5).standard_normal((70, DIMENSION)).astype(np.float32)
    settings = "efSearch=40" if factory == "HNSW8" else "nprobe=4"
    faiss.ParameterSpace().set_index_parameters(whole, settings)
    _, expected = whole.search(queries, 30)
    query, rows = ann.open_index(index, settings).search(queries, 30)
    known = expected >= 0
    np.testing.assert_array_equal(rows, expected[known])
    np.testing.assert_array_equal(query, np.nonzero(known)[0])
    if factory != "HNSW8":
        read = faiss.read_index(str(index.path / ann.FOLDER / "index.faiss"))
        read.nprobe = 4
        np.testing.assert_array_equal(read.search(queries, 30)[1], expected)


@pytest.mark.parametrize("factory", ["HNSW8", "HNSW32", "Flat", "SQ8", "IVF20,Flat", "PCA8,HNSW8"])
def test_the_bytes_of_a_vector_are_foretold(
    tmp_path: Path, clustered: np.ndarray, factory: str
) -> None:
    files = []
    for count in (1000, 2000):
        rows = clustered[:count]
        _, stored = collection(tmp_path / str(count), rows, [str(i) for i in range(count)], 700)
        index = built(tmp_path / f"ann{count}", stored, factory)
        files.append((index.path / ann.FOLDER / "index.faiss").stat().st_size)
    told = ann.bytes_per_vector(factory, DIMENSION)
    # Row numbers are not written where they follow each other.
    assert (files[1] - files[0]) / 1000 == pytest.approx(told, rel=0.03, abs=9)


def test_what_does_not_fit_is_refused_with_what_would_do(tmp_path: Path) -> None:
    tight = memory.Budget(300 << 20, {"the interpreter": 128 << 20})
    with pytest.raises(UsageError) as refused:
        ann.refuse_beyond("HNSW32", 384, 1_000_000, tight)
    assert "for 1,000,000 vectors of 384 dimensions" in str(refused.value)
    assert "leaves 172 MiB" in str(refused.value)
    assert "IVF4096,Flat" in str(refused.value)
    found = re.search(r"--memory (\d+)MB", str(refused.value))
    assert found is not None
    # A vector of 1,536 bytes and 64 links of 4, twice while FAISS makes room.
    assert int(found[1]) << 20 > 2 * 1_000_000 * (1536 + 256)
    enough = memory.Budget(int(found[1]) << 20, tight.fixed)
    ann.refuse_beyond("HNSW32", 384, 1_000_000, enough)
    # An inverted file of any size is built, if its sample fits.
    ann.refuse_beyond("IVF256,Flat", 384, 1_000_000_000, tight)
    with pytest.raises(UsageError, match="fewer lists"):
        ann.refuse_beyond("IVF65536,Flat", 384, 1_000_000_000, tight)
    with pytest.raises(UsageError, match="numbered already"):
        ann.refuse_beyond("IDMap,Flat", 16, 100, tight)


def test_an_index_that_takes_no_blocks_is_refused(tmp_path: Path, clustered: np.ndarray) -> None:
    _, stored = collection(tmp_path, clustered, [str(i) for i in range(len(clustered))], 700)
    with pytest.raises(UsageError, match="block by block"):
        ann.build(stored, "NSG8", tmp_path, BUDGET)


def test_a_search_holds_all_of_an_index_or_what_a_query_reads(
    tmp_path: Path, clustered: np.ndarray
) -> None:
    _, stored = collection(tmp_path, clustered, [str(i) for i in range(len(clustered))], 700)
    graph = built(tmp_path / "graph", stored, "HNSW8")
    size = (graph.path / ann.FOLDER / "index.faiss").stat().st_size
    assert ann.held_to_search(graph, "") == size + len(clustered) * (os.cpu_count() or 1)
    lists = built(tmp_path / "lists", stored, "IVF40,Flat")
    held = [ann.held_to_search(lists, f"nprobe={n},max_codes=0") for n in (1, 10, 40)]
    assert ann.held_to_search(lists, "") == held[0]
    assert held[0] < held[1] < held[2]
    assert held[2] > len(clustered) * (4 * DIMENSION + 8) > held[1]


def test_an_index_of_before_is_refused(tmp_path: Path) -> None:
    writer = artifacts.begin(tmp_path / "ann", Plan("index.ann", 1, {"factory": "Flat"}))
    assert writer is not None
    with writer:
        writer.add_text("index.faiss", "x")
        old = writer.commit({"vectors": 1})
    with pytest.raises(InvalidDataError, match="earlier negmine") as refused:
        ann.open_index(old, "")
    assert "index ... --ann" in str(refused.value)


#: Run in a process of its own: it takes its folder, and builds or searches there.
PROGRAM = """
import os, signal, sys
from pathlib import Path
import numpy as np
from negmine import memory
from negmine.sources import ann, dense, ivf, vectors
from negmine.table import artifacts
from negmine.table.artifacts import Plan

base, what, factory, ceiling = Path(sys.argv[1]), *sys.argv[2:]
stored = vectors.Vectors(artifacts.open_artifact(base / "vectors"))
if what == "killed":
    ivf._copy_head = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if what == "search":
    index = artifacts.open_artifact(base / "ann")
    queries = np.random.default_rng(1).standard_normal((300, 256)).astype(np.float32)
    held = ann.held_to_search(index, "nprobe=8")
    memory.reset_peak_memory()
    budget = memory.budget(ceiling, approximate_indexes=held)
    _, rows = ann.open_index(index, "nprobe=8", budget.lists).search(queries, 50)
    np.save(base / f"rows-{ceiling}.npy", rows)
else:
    budget = memory.budget(ceiling)
    memory.reset_peak_memory()
    with artifacts.begin(base / "ann", Plan("index.ann", 2, {"factory": factory})) as writer:
        writer.add_folder(
            ann.FOLDER, lambda path: {"vectors": ann.build(stored, factory, path, budget)}
        )
        writer.commit(writer.stats(ann.FOLDER))
print(memory.peak_memory())
"""


def run_program(
    base: Path, what: str, factory: str, ceiling: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(base), what, factory, ceiling],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_peaks_stay_below_a_ceiling_that_is_smaller_than_the_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = artifacts.begin(tmp_path / "vectors", Plan("index.vectors", 1, {}))
    assert writer is not None
    with writer:
        for part in range(20):
            vectors = rng.standard_normal((10_000, 256), dtype=np.float32).astype(np.float16)
            writer.add_array(f"part-{part:05d}.npy", vectors)
        writer.commit({})
    ceiling = "264MB"
    for what in ("build", "search"):
        ended = run_program(tmp_path, what, "IVF128,Flat", ceiling)
        assert ended.returncode == 0, ended.stderr
        if sys.platform == "linux":
            assert int(ended.stdout) < memory.parse(ceiling, "--memory")
    index = tmp_path / "ann" / ann.FOLDER / "index.faiss"
    # The interpreter and the index beside each other are more.
    assert index.stat().st_size + memory.INTERPRETER > 1.4 * memory.parse(ceiling, "--memory")
    assert run_program(tmp_path, "search", "", "8GB").returncode == 0
    found = [np.load(tmp_path / f"rows-{size}.npy") for size in (ceiling, "8GB")]
    np.testing.assert_array_equal(*found)


def test_killed_while_merging_it_is_built_again_and_nothing_is_left(
    tmp_path: Path, clustered: np.ndarray
) -> None:
    _, stored = collection(tmp_path, clustered, [str(i) for i in range(len(clustered))], 700)
    ended = run_program(tmp_path, "killed", "IVF20,Flat", "8GB")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = sorted(path.name for path in (tmp_path / "ann").iterdir())
    assert left == [".faiss.tmp", "_journal.jsonl"]
    index = built(tmp_path / "ann", stored, "IVF20,Flat")
    assert sorted(path.name for path in index.path.iterdir()) == ["_manifest.json", "faiss"]
    clean = built(tmp_path / "clean", stored, "IVF20,Flat")
    for name in (ivf.FILE, ivf.TRAINED, ivf.LISTS):
        file = f"{ann.FOLDER}/{name}"
        assert index.file(file).read_bytes() == clean.file(file).read_bytes()


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
    assert "finds 100.0% of the exact best 9 (24 queries, HNSW8, efSearch=500)" in result.stderr
    manifest = json.loads((work / "ann" / "_manifest.json").read_text())
    assert manifest["ann"]["tiny"]["recall"] == 1
    assert manifest["inputs"]["ann tiny"]["stage"] == "index.ann"
    assert invoke(*retrieve, "-o", work / "exact").exit_code == 0
    assert pq.read_table(work / "ann").equals(pq.read_table(work / "exact"))
    # The candidates of an approximate search go on like any others.
    assert invoke("filter", work / "ann", "-o", work / "ledger").exit_code == 0


def test_the_stages_keep_to_the_ceiling(
    tmp_path: Path, invoke: Invoke, tiny_bi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, work = make_data(tmp_path / "data"), tmp_path / "work"
    index: list[Any] = ["index", "--corpus", data, "-o", work / "index", "--no-bm25"]
    index += ["--encoder", f"tiny={tiny_bi}", "--ann"]
    retrieve: list[Any] = ["retrieve", work / "index", "--queries", data]
    retrieve += ["--qrels", data / "qrels.tsv", "-k", 5]
    # The tests before this one left more than a small ceiling in this process.
    monkeypatch.setattr(memory, "resident", lambda: 0)
    with monkeypatch.context() as patch:
        patch.setattr(ann, "_per_vector", lambda _: 1 << 30)
        refused = invoke(*index, "HNSW8", "--memory", "2GB")
        assert refused.exit_code == 2
        assert "another index: an inverted file" in refused.stderr
        assert not (work / "index" / "vectors").exists()
    assert invoke(*index, "HNSW8", "--memory", "2GB").exit_code == 0
    for size, told in ((["--memory", "2GB"], "--memory 2GB"), ([], "half of the free memory")):
        with monkeypatch.context() as patch:
            patch.setattr(ann, "held_to_search", lambda *_: 1 << 50)
            refused = invoke(*retrieve, "--ann", "efSearch=500", *size, "-o", work / "none")
        assert refused.exit_code == 2
        assert f"{told} cannot hold what this needs" in refused.stderr
        assert "approximate indexes" in refused.stderr
        assert "only the lists that one query probes" in refused.stderr
    assert invoke(*index, "IVF2,Flat", "--force").exit_code == 0
    made = {}
    for size in ("2GB", "64GB"):
        ann_search = ["--ann", "nprobe=1", "--memory", size]
        assert invoke(*retrieve, *ann_search, "-o", work / size).exit_code == 0
        made[size] = pq.read_table(work / size)
    assert made["2GB"].equals(made["64GB"])

"""Exact dense search: streamed parts against one NumPy product over everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from negmine.errors import InvalidDataError
from negmine.models.devices import Placement
from negmine.sources import dense, exact, exact_gpu
from negmine.sources import vectors as sources_vectors
from negmine.sources.base import Asked
from negmine.table import artifacts
from negmine.table.artifacts import Plan
from negmine.table.documents import Documents
from negmine.table.schemas import DOCUMENTS

DIMENSION = 16


class LookupEncoder:
    """An encoder whose vectors are given: the Protocol without a model."""

    dimension = DIMENSION
    max_length = 8
    placement = Placement("cpu", "float32", "test")

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors

    def describe(self) -> dict[str, object]:
        return {"dtype": "float32"}

    def encode(
        self, texts: Sequence[str], side: Any, progress: Any = None, checkpoint: Any = None
    ) -> np.ndarray:
        if progress is not None:
            progress(len(texts))
        return np.array([self.vectors[text] for text in texts], dtype=np.float32)


def collection(
    folder: Path,
    vectors: np.ndarray,
    ids: Sequence[str],
    part_rows: int,
    stored: sources_vectors.Stored = "float32",
) -> tuple[Documents, sources_vectors.Vectors]:
    """A corpus whose document i has the text "i" and row i of ``vectors``."""
    writer = artifacts.begin(folder / "documents", Plan("index.documents", 1, {}))
    assert writer is not None
    with writer:
        for number, start in enumerate(range(0, len(ids), part_rows)):
            part = list(range(start, min(start + part_rows, len(ids))))
            table = pa.table(
                {
                    "docid": [ids[i] for i in part],
                    "title": ["" for _ in part],
                    "text": [str(i) for i in part],
                }
            )
            writer.add_table(f"part-{number:05d}.parquet", table, DOCUMENTS)
        documents = Documents(writer.commit({}))
    encoder = LookupEncoder({str(i): vector for i, vector in enumerate(vectors)})
    vector_writer = artifacts.begin(folder / "vectors", Plan("index.vectors", 1, {}))
    assert vector_writer is not None
    seen: list[int] = []
    with vector_writer:
        dense.build(documents, vector_writer, [encoder], seen.append, stored)
        written = sources_vectors.Vectors(vector_writer.commit({}))
    assert sum(seen) == len(ids)
    return documents, written


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def expected(
    queries: np.ndarray, vectors: np.ndarray, ids: Sequence[str], k: int
) -> list[list[tuple[str, float]]]:
    scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    return [
        sorted(zip(ids, row.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))[:k]
        for row in scores
    ]


@pytest.mark.parametrize("part_rows", [3, 50, 1000])
@pytest.mark.parametrize("k", [1, 10, 500])
@pytest.mark.parametrize("memory", [1, 1 << 29])
def test_search_equals_brute_force(
    tmp_path: Path, random: np.random.Generator, part_rows: int, k: int, memory: int
) -> None:
    vectors = random.standard_normal((211, DIMENSION)).astype(np.float32)
    ids = [f"d{i}" for i in random.permutation(211)]
    documents, stored = collection(tmp_path, vectors, ids, part_rows)
    queries = random.standard_normal((9, DIMENSION)).astype(np.float32)
    texts = [f"q{i}" for i in range(len(queries))]
    encoder = LookupEncoder(dict(zip(texts, queries, strict=True)))
    source = dense.DenseSource(documents, stored, lambda: encoder, memory=memory)
    found = source.search(Asked.by_text(texts), k)
    want = expected(queries, vectors, ids, k)
    for number in range(len(queries)):
        mine = found.query == number
        got = list(
            zip(
                found.docid.filter(pa.array(mine)).to_pylist(),
                found.score[mine].tolist(),
                strict=True,
            )
        )
        assert [docid for docid, _ in got] == [docid for docid, _ in want[number]]
        np.testing.assert_allclose([s for _, s in got], [s for _, s in want[number]], atol=1e-6)


def test_ties_at_the_cut_are_decided_by_docid_whatever_the_order_of_the_corpus(
    tmp_path: Path, random: np.random.Generator
) -> None:
    # 200 documents share one vector: more than the slack, so the search has to look deeper.
    unique = random.standard_normal((20, DIMENSION)).astype(np.float32)
    unique /= np.linalg.norm(unique, axis=1, keepdims=True)
    vectors = np.concatenate([unique, np.repeat(unique[:1], 200, axis=0)])
    names = [f"u{i:03d}" for i in range(20)] + [f"t{i:03d}" for i in range(200)]
    query = unique[:1]
    answers = []
    for number in range(2):
        order = random.permutation(len(names))
        folder = tmp_path / str(number)
        documents, stored = collection(folder, vectors[order], [names[i] for i in order], 64)
        encoder = LookupEncoder({"q": query[0]})
        source = dense.DenseSource(documents, stored, lambda encoder=encoder: encoder)
        answers.append(source.search(Asked.by_text(["q"]), 5).docid.to_pylist())
    assert answers[0] == answers[1] == ["t000", "t001", "t002", "t003", "t004"]


@pytest.mark.parametrize("memory", [1, 1 << 29])
def test_many_ties_in_many_blocks_are_settled_exactly(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    # Every vector comes 60 times, scattered, of any length: most cuts fall among equals, and a
    # float32 product tells equal vectors apart by its rounding.
    monkeypatch.setattr(sources_vectors, "BLOCK_ROWS", 32)
    monkeypatch.setattr(exact, "BLOCK_QUERIES", 4)
    unique = random.standard_normal((10, DIMENSION)).astype(np.float32) * 30
    vectors = np.repeat(unique, 60, axis=0)[random.permutation(600)]
    ids = [f"d{i:03d}" for i in random.permutation(600)]
    documents, stored = collection(tmp_path, vectors, ids, 130)
    queries = random.standard_normal((11, DIMENSION)).astype(np.float32) * 7
    texts = [f"q{i}" for i in range(len(queries))]
    encoder = LookupEncoder(dict(zip(texts, queries, strict=True)))
    source = dense.DenseSource(documents, stored, lambda: encoder, memory=memory)
    for k in (1, 17, 100):
        found = source.search(Asked.by_text(texts), k)
        want = expected(queries, vectors, ids, k)
        assert found.docid.to_pylist() == [docid for row in want for docid, _ in row]


def test_reservoirs_keep_the_best_of_many_blocks(random: np.random.Generator) -> None:
    scores = random.standard_normal((6, 4000)).astype(np.float32)
    # Rising scores overflow a reservoir at every block.
    scores[0] = np.linspace(-1, 1, 4000)
    best = exact.Best.empty(6, 40, 4000)
    for low in (0, 4):
        for first in range(0, 4000, 700):
            block = np.ascontiguousarray(scores[low : low + 4, first : first + 700])
            best.add(low, block, np.empty(block.shape, dtype=bool), first)
    found, rows = best.sorted()
    np.testing.assert_array_equal(found, -np.sort(-scores, axis=1)[:, :40])
    np.testing.assert_array_equal(np.take_along_axis(scores, rows, axis=1), found)


def test_scores_are_products_of_the_stored_vectors_in_search_and_for_pairs(
    tmp_path: Path, random: np.random.Generator
) -> None:
    vectors = random.standard_normal((300, DIMENSION)).astype(np.float32)
    ids = [f"d{i:03d}" for i in range(300)]
    documents, stored = collection(tmp_path, vectors, ids, 130, "float16")
    assert {part.dtype for _, part in stored.parts()} == {np.dtype(np.float16)}
    queries = random.standard_normal((5, DIMENSION)).astype(np.float32)
    texts = [f"q{i}" for i in range(5)]
    encoder = LookupEncoder(dict(zip(texts, queries, strict=True)))
    source = dense.DenseSource(documents, stored, lambda: encoder)
    found = source.search(Asked.by_text(texts), 20)
    want = expected(queries, vectors.astype(np.float16), ids, 20)
    assert found.docid.to_pylist() == [docid for row in want for docid, _ in row]
    np.testing.assert_allclose(found.score, [s for row in want for _, s in row], atol=1e-6)
    np.testing.assert_array_equal(
        source.score(Asked.by_text(texts), found.query, found.docid), found.score
    )
    # And they are not those of the vectors before rounding.
    assert (
        np.abs(found.score - [s for r in expected(queries, vectors, ids, 20) for _, s in r])
    ).max() > 1e-5


def test_float16_is_chosen_where_a_sample_keeps_its_neighbours(
    random: np.random.Generator,
) -> None:
    fine = random.standard_normal((2000, 64)).astype(np.float32)
    facts = sources_vectors.rounding(fine)
    assert facts["dtype"] == "float16"
    assert facts["same_neighbours"] >= 0.999
    assert facts["largest_loss"] < 1e-3
    # What tells these apart is smaller than float16's steps at 100.
    close = 100 + random.standard_normal((2000, 64)).astype(np.float32) / 100
    facts = sources_vectors.rounding(close)
    assert facts["dtype"] == "float32"
    assert facts["same_neighbours"] < 0.9
    assert sources_vectors.rounding(fine * 1e5)["dtype"] == "float32"
    assert sources_vectors.rounding(fine[:1])["dtype"] == "float16"
    # Copies are ties: taking one for another loses nothing.
    assert sources_vectors.rounding(np.repeat(fine[:20], 50, axis=0))["same_neighbours"] == 1


def test_float16_that_was_asked_for_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    vectors = np.full((3, DIMENSION), 1e5, dtype=np.float32)
    with pytest.raises(InvalidDataError, match="beyond float16"):
        collection(tmp_path, vectors, ["a", "b", "c"], 2, "float16")


@pytest.mark.parametrize("on", [["cpu"], ["cpu", "cpu", "cpu"]])
@pytest.mark.parametrize("memory", [1, 1 << 20, None])
@pytest.mark.parametrize("stored", ["float16", "float32"])
def test_search_with_torch_finds_the_same(
    tmp_path: Path,
    random: np.random.Generator,
    on: list[str],
    memory: int | None,
    stored: sources_vectors.Stored,
) -> None:
    vectors = random.standard_normal((211, DIMENSION)).astype(np.float32)
    _, written = collection(tmp_path, vectors, [f"d{i}" for i in range(211)], 60, stored)
    queries = random.standard_normal((9, DIMENSION)).astype(np.float32)
    for k in (1, 40, 211):
        scores, rows = exact_gpu.search(written.parts(), queries, k, on, memory)
        want = queries @ vectors.astype(stored).astype(np.float32).T
        np.testing.assert_allclose(scores, -np.sort(-want, axis=1)[:, :k], atol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(want, rows, axis=1), scores, atol=1e-5)
        assert all(len(set(row)) == k for row in rows.tolist())


def test_the_search_goes_where_the_encoder_does(
    tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of a search, but with torch: the same hits and, scored in float64, the same scores.
    vectors = np.repeat(random.standard_normal((40, DIMENSION)).astype(np.float32), 3, axis=0)
    documents, stored = collection(tmp_path, vectors, [f"d{i:03d}" for i in range(120)], 50)
    encoder = LookupEncoder({"q": vectors[0], "r": vectors[7]})
    found = []
    for devices in ([], ["cpu", "cpu"]):
        monkeypatch.setattr(dense, "gpus", lambda asked, used, devices=devices: devices)
        found.append(
            dense.DenseSource(documents, stored, lambda: encoder).search(
                Asked.by_text(["q", "r"]), 10
            )
        )
    assert found[0].docid.equals(found[1].docid)
    np.testing.assert_array_equal(found[0].score, found[1].score)


def test_several_encoders_write_what_one_writes_and_go_on_where_it_ended(
    tmp_path: Path, random: np.random.Generator
) -> None:
    vectors = random.standard_normal((300, DIMENSION)).astype(np.float32)
    documents, _ = collection(tmp_path / "one", vectors, [f"d{i}" for i in range(300)], 20, "auto")
    known = {str(i): vector for i, vector in enumerate(vectors)}
    whole = (tmp_path / "one" / "vectors").glob("part-*")
    want = {path.name: path.read_bytes() for path in whole}
    assert len(want) == 15

    class Breaks(LookupEncoder):
        def encode(
            self, texts: Sequence[str], side: Any, progress: Any = None, checkpoint: Any = None
        ) -> np.ndarray:
            if "160" in texts:
                raise InvalidDataError("the ninth part breaks")
            return super().encode(texts, side, progress)

    def begin() -> artifacts.Writer:
        writer = artifacts.begin(folder, Plan("index.vectors", 1, {}))
        assert writer is not None
        return writer

    folder, seen = tmp_path / "several", list[int]()
    with pytest.raises(InvalidDataError, match="ninth"), begin() as writer:
        dense.build(documents, writer, [Breaks(known)] * 3, seen.append)
    assert len(list(folder.glob("part-*"))) == 8
    seen.clear()
    with begin() as writer:
        dense.build(documents, writer, [LookupEncoder(known)] * 3, seen.append)
        writer.commit({})
    assert sum(seen) == 300
    assert {path.name: path.read_bytes() for path in folder.glob("part-*")} == want


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_stored_vectors_are_read_as_float32_of_the_same_value(dtype: Any) -> None:
    rows = np.random.default_rng(1).standard_normal((50, 12)).astype(dtype)
    rows[0, :4] = [0, -0.0, 6e-8, 65504]
    read = sources_vectors.float32(rows)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, rows.astype(np.float32))


def test_queries_are_encoded_in_groups_of_their_own(
    tmp_path: Path, random: np.random.Generator
) -> None:
    vectors = random.standard_normal((30, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents, stored = collection(tmp_path, vectors, [f"d{i}" for i in range(30)], 7)
    asked: list[list[str]] = []

    class Counting(LookupEncoder):
        def encode(
            self, texts: Sequence[str], side: Any, progress: Any = None, checkpoint: Any = None
        ) -> np.ndarray:
            asked.append(list(texts))
            return super().encode(texts, side, progress)

    texts = [str(i) for i in range(10)]
    encoder = Counting(dict(zip(texts, vectors[:10], strict=True)))
    source = dense.DenseSource(documents, stored, lambda: encoder, together=4)
    assert source.search(Asked.by_text(texts), 1).docid.to_pylist() == [f"d{i}" for i in range(10)]
    assert asked == [texts[:4], texts[4:8], texts[8:]]


def test_pairs_are_scored_as_search_scores_them(
    tmp_path: Path, random: np.random.Generator
) -> None:
    vectors = random.standard_normal((40, DIMENSION)).astype(np.float32)
    ids = [f"d{i}" for i in range(40)]
    documents, stored = collection(tmp_path, vectors, ids, 7)
    queries = random.standard_normal((2, DIMENSION)).astype(np.float32)
    encoder = LookupEncoder({"q0": queries[0], "q1": queries[1]})
    source = dense.DenseSource(documents, stored, lambda: encoder)
    texts = ["q0", "q1"]
    found = source.search(Asked.by_text(texts), 40)
    again = source.score(Asked.by_text(texts), found.query, found.docid)
    np.testing.assert_array_equal(again, found.score)
    unknown = source.score(Asked.by_text(texts), np.array([0, 1]), pa.array(["nowhere", "d3"]))
    assert np.isnan(unknown[0])
    assert not np.isnan(unknown[1])
    source.close()

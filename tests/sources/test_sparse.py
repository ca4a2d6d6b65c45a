"""Learned sparse retrieval through the command line.

The oracle is SciPy: the library's own weights, times 100 and rounded, multiplied as whole numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.chains import call, make_data, small_parts

#: What else is in a batch shows in the last digits, and may round a weight to the other side.
EXACT = ("--dtype", "float32", "--runtime", "torch", "--batch-size", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("sparse") / "data")


def texts_of(data: Path, name: str) -> dict[str, str]:
    lines = (data / f"{name}.jsonl").read_text().splitlines()
    return {row["_id"]: row["text"] for row in map(json.loads, lines)}


def indexed(data: Path, out: Path, *options: object) -> tuple[int, str]:
    with small_parts():
        return call("index", "--corpus", data, "--no-signatures", *options, "-o", out)


def retrieved(index: Path, data: Path, out: Path, *options: object) -> tuple[int, str]:
    qrels = ("--qrels", data / "qrels.tsv", "-k", 10)
    with small_parts():
        return call("retrieve", index, "--queries", data, *qrels, *options, "-o", out)


def impacts(index: Path, name: str) -> tuple[list[dict[int, int]], int]:
    """The stored rows, and how many terms there are."""
    folder = index / "sparse" / name
    rows = [
        row for part in sorted(folder.glob("part-*")) for row in pq.read_table(part).to_pylist()
    ]
    counts = json.loads((folder / "_manifest.json").read_text())["counts"]
    return [dict(zip(r["terms"], r["impacts"], strict=True)) for r in rows], counts["terms"]


def library_weights(model: Path, texts: list[str], side: str) -> np.ndarray:
    """The library's weights of texts, dense float64."""
    from sentence_transformers import SparseEncoder

    encoder = SparseEncoder(str(model), device="cpu")
    encode = encoder.encode_query if side == "query" else encoder.encode_document
    found = encode(texts, batch_size=1, show_progress_bar=False)
    return np.asarray(found.to_dense().double().numpy())


def whole(weights: np.ndarray) -> Any:
    from scipy.sparse import csr_array

    return csr_array(np.rint(weights * 100).astype(np.int64))


def brute_force(left: Any, right: Any, docids: list[str], k: int) -> list[list[tuple[str, int]]]:
    """Of each query the best k documents with a product above 0, by (-score, docid)."""
    every = (left @ right.T).toarray()
    found = []
    for row in every:
        pairs = [(d, int(s)) for d, s in zip(docids, row, strict=True) if s > 0]
        found.append(sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k])
    return found


@pytest.mark.parametrize("kind", ["splade", "inference_free", "csr"])
def test_finds_and_scores_what_whole_numbers_give(
    kind: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """All kinds of models, told by their files; ranks, scores, and pairs that others found."""
    model: Path = request.getfixturevalue(f"tiny_{kind}")
    code, output = indexed(data, tmp_path / "index", "--encoder", f"sp={model}", *EXACT)
    assert code == 0, output
    code, output = retrieved(tmp_path / "index", data, tmp_path / "table", "--batch-size", 1)
    assert code == 0, output
    corpus, queries = texts_of(data, "corpus"), texts_of(data, "queries")
    right = whole(library_weights(model, list(corpus.values()), "document"))
    left = whole(library_weights(model, list(queries.values()), "query"))
    rows, terms = impacts(tmp_path / "index", "sp")
    stored = np.zeros((len(rows), terms), dtype=np.int64)
    for number, row in enumerate(rows):
        stored[number, list(row)] = list(row.values())
    assert (stored == right.toarray()).all()
    docids, qids = list(corpus), list(queries)
    wanted = brute_force(left, right, docids, 10)
    product = (left @ right.T).toarray()
    table = pq.read_table(tmp_path / "table").to_pylist()
    assert any(row["rank_sp"] is None for row in table)
    found: dict[str, list[tuple[int, str, float]]] = {qid: [] for qid in qids}
    for row in table:
        assert row["score_sp"] == product[qids.index(row["qid"]), docids.index(row["docid"])]
        if row["rank_sp"] is not None:
            found[row["qid"]].append((row["rank_sp"], row["docid"], row["score_sp"]))
    for qid, best in zip(qids, wanted, strict=True):
        # A query with known positives is searched deeper; the ranks are the ranking's own.
        ranked = [(docid, score) for _, docid, score in sorted(found[qid])]
        assert ranked[: len(best)] == best
        assert [rank for rank, *_ in sorted(found[qid])] == list(range(1, len(ranked) + 1))

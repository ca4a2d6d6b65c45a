"""Dense search among some documents alone: one NumPy product, and what may be found of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negmine.sources import dense, exact_gpu
from negmine.sources.base import Asked
from negmine.sources.matching import Matching, Within, ragged
from tests.sources.test_dense import DIMENSION, LookupEncoder, collection, expected

ROWS, QUERIES = 211, 12


def matching(documents: object, groups: np.ndarray, wanted: list[list[int]]) -> Matching:
    """Documents of the groups that each query wants."""
    query = np.repeat(np.arange(len(wanted)), [len(each) for each in wanted])
    code = np.array([g for each in wanted for g in each], dtype=np.int32)
    made = Within(groups.astype(np.int32), ragged(query, len(wanted)), code, code, missing=-2)
    return Matching(documents, [made], len(wanted))  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", [1, 1 << 29])
@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("device", ["numpy", "torch"])
def test_the_best_of_what_may_be_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: int,
    k: int,
    ties: bool,
    device: str,
) -> None:
    random = np.random.default_rng(3)
    vectors = random.standard_normal((ROWS, DIMENSION)).astype(np.float32)
    if ties:
        # Two thirds of all are one vector: the cut goes through them.
        vectors[::3] = vectors[1::3] = vectors[0]
    ids = [f"d{i}" for i in random.permutation(ROWS)]
    documents, stored = collection(tmp_path, vectors, ids, 50)
    groups = random.integers(0, 6, ROWS)
    wanted = [[q % 6] if q % 4 else [0, 3, 5] for q in range(QUERIES - 2)] + [[], [17]]
    queries = random.standard_normal((QUERIES, DIMENSION)).astype(np.float32)
    texts = [f"q{i}" for i in range(QUERIES)]
    encoder = LookupEncoder(dict(zip(texts, queries, strict=True)))
    if device == "torch":
        monkeypatch.setattr(dense, "gpus", lambda *_: ["cpu", "cpu"])
        monkeypatch.setattr(exact_gpu, "_MEMORY", 1 << 14 if memory == 1 else 1 << 29)
    source = dense.DenseSource(documents, stored, lambda: encoder, memory=memory)
    found = source.search_among(Asked.by_text(texts), k, matching(documents, groups, wanted))
    every = expected(queries, vectors, ids, ROWS)
    group_of = dict(zip(ids, groups.tolist(), strict=True))
    for number in range(QUERIES):
        mine = found.query == number
        got = list(
            zip(
                found.docid.filter(mine.tolist()).to_pylist(),
                found.score[mine].tolist(),
                strict=True,
            )
        )
        assert got == [pair for pair in every[number] if group_of[pair[0]] in wanted[number]][:k]
    # Nothing of it is left in an ordinary search.
    assert len(source.search(Asked.by_text(texts), k)) == k * QUERIES

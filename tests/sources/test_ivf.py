"""Inverted lists in pieces, against FAISS with everything in memory: the same bytes and rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from negmine.errors import InvariantError
from negmine.sources import ivf

DIMENSION, COUNT, BLOCK = 32, 3001, 512
KINDS = [
    "IVF16,Flat",
    "IVF16,SQ8",
    "IVF16,PQ8x4",
    "IVF16,PQ8x4fs",
    "IVF16,PQ8x4fsr",
    "OPQ8,IVF16,PQ8x4fs",
    "PCAR12,IVF16,PQ3x4fs",
    "PCA16,IVF16,SQfp16",
    "IVF16_HNSW8,Flat",
]


@functools.cache
def corpus() -> np.ndarray:
    rng = np.random.default_rng(0)
    made = rng.standard_normal((COUNT, DIMENSION)).astype(np.float32)
    # Some are there many times: ties, and a list that is longer than the others.
    made[::7] = made[0]
    return made


@pytest.fixture
def vectors() -> np.ndarray:
    return corpus()


def blocks(vectors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), BLOCK):
        yield vectors[start : start + BLOCK]


def trained(factory: str) -> Any:
    return faiss.deserialize_index(_trained(factory))


@functools.cache
def _trained(factory: str) -> np.ndarray:
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(corpus())
    return faiss.serialize_index(index)


def in_memory(factory: str, vectors: np.ndarray, file: Path) -> Any:
    index = trained(factory)
    for block in blocks(vectors):
        index.add(block)
    faiss.write_index(index, str(file))
    return index


def room(vectors: int) -> int:
    """Memory for so many flat vectors, beside pieces and the bounds of 16 lists."""
    bounds = math.isqrt(8 * 16 * COUNT * (4 * DIMENSION + 20))
    return 2 * ivf._PIECE_BYTES + bounds + vectors * (4 * DIMENSION + 20)


@pytest.mark.parametrize("factory", KINDS)
def test_the_file_is_faiss_own_whatever_the_memory(
    tmp_path: Path, vectors: np.ndarray, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory(factory, vectors, tmp_path / "expected")
    # Several reads of each list.
    monkeypatch.setattr(ivf, "_PIECE_BYTES", 1000)
    for name, memory in (("large", 1 << 30), ("small", room(700)), ("least", room(13))):
        folder = tmp_path / name
        folder.mkdir()
        index = trained(factory)
        assert ivf.write(index, blocks(vectors), COUNT, folder, memory) == COUNT
        assert (folder / "index.faiss").read_bytes() == (tmp_path / "expected").read_bytes()
        assert sorted(path.name for path in folder.iterdir()) == [
            "index.faiss",
            "lists.npy",
            "trained.faiss",
        ]


def test_little_memory_is_enough_for_the_bounds_of_all_shards() -> None:
    index = faiss.index_factory(DIMENSION, "IVF4096,Flat", faiss.METRIC_INNER_PRODUCT)
    for count in (10**6, 10**9):
        least = ivf.least_memory(index, count)
        # Two pieces are read and written, a quarter of the rest at the least is codes.
        codes = (least - 2 * ivf._PIECE_BYTES) // 2
        shards = -(-count * (4 * DIMENSION + 20) // codes)
        assert codes + shards * 8 * 4097 <= least
    # A thousand times the vectors want 32 times the memory.
    assert least < 4 * ivf._PIECE_BYTES + 160_000_000


def test_most_lists_may_be_empty(tmp_path: Path, vectors: np.ndarray) -> None:
    index = trained("IVF300,Flat")
    whole = trained("IVF300,Flat")
    whole.add(vectors[:40])
    faiss.write_index(whole, str(tmp_path / "expected"))
    ivf.write(index, [vectors[:40]], 40, tmp_path, room(9))
    assert (tmp_path / "index.faiss").read_bytes() == (tmp_path / "expected").read_bytes()


@pytest.mark.parametrize("factory", KINDS)
@pytest.mark.parametrize("probes", [1, 5, 16])
def test_a_search_finds_what_faiss_finds(
    tmp_path: Path, vectors: np.ndarray, factory: str, probes: int
) -> None:
    whole = in_memory(factory, vectors, tmp_path / "expected")
    ivf.write(trained(factory), blocks(vectors), COUNT, tmp_path, room(1000))
    faiss.extract_index_ivf(whole).nprobe = probes
    queries = np.random.default_rng(1).standard_normal((300, DIMENSION)).astype(np.float32)
    _, expected = whole.search(queries, 20)
    places = np.load(tmp_path / "lists.npy")
    assert places[:, 3].sum() == COUNT
    least = ivf.query_bytes(places, probes)
    for memory, together in ((least, 1), (least, 1 << 20), (2 * least, 10_000), (1 << 30, 5000)):
        index = ivf.InvertedFile(tmp_path, memory, together)
        index._ivf.nprobe = probes
        np.testing.assert_array_equal(index.search(queries, 20), expected)


def test_never_more_is_held_than_the_memory(tmp_path: Path, vectors: np.ndarray) -> None:
    ivf.write(trained("IVF16,Flat"), blocks(vectors), COUNT, tmp_path, room(1000))
    places = np.load(tmp_path / "lists.npy")
    memory = ivf.query_bytes(places, 3) + 10_000
    index = ivf.InvertedFile(tmp_path, memory, 1 << 20)
    index._ivf.nprobe = 3
    held = []
    hold = index._hold

    def watched(lists: np.ndarray) -> None:
        hold(lists)
        kept = faiss.downcast_InvertedLists(index._ivf.invlists)
        sizes = [kept.list_size(number) for number in range(kept.nlist)]
        assert {n for n, size in enumerate(sizes) if size} >= set(lists.ravel().tolist())
        held.append(sum(sizes) * (4 * DIMENSION + 8))

    index._hold = watched  # type: ignore[method-assign]
    queries = np.random.default_rng(1).standard_normal((200, DIMENSION)).astype(np.float32)
    index.search(queries, 5)
    assert len(held) > 1
    assert max(held) <= memory < COUNT * (4 * DIMENSION + 8)
    # All probes are more than there are lists.
    index = ivf.InvertedFile(tmp_path, 1 << 30, 1 << 20)
    index._ivf.nprobe = 1000
    every = index.search(queries, COUNT)
    assert (np.sort(every, axis=1) == np.arange(COUNT)).all()


@pytest.mark.parametrize(
    "factory",
    ["Flat", "HNSW8", "PQ8", "IVF16,FlatDedup", "IVF16,PQ8,RFlat", "IVF16,RaBitQ", "PCA8,HNSW8"],
)
def test_other_indexes_are_left_to_faiss(factory: str) -> None:
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    assert ivf.inverted_file(index) is None


def test_another_layout_of_faiss_is_told(
    tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ivf._Layout, "empty", lambda self: b"ilxx")
    with pytest.raises(InvariantError, match="another way"):
        ivf.write(trained("IVF16,Flat"), blocks(vectors), COUNT, tmp_path, 1 << 30)

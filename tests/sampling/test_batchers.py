"""Batches: no false in-batch negative, nothing twice, and harder than chance."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negmine.sampling import batchers
from negmine.sampling.batchers import Items, Lists


def lists(rows: list[list[int]]) -> Lists:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    return Lists(np.array([v for row in rows for v in row], dtype=np.int64), offsets)


def clustered(
    clusters: int, each: int, dimensions: int = 16, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around centres, and the centre of each, in random order."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(clusters), each))
    centres = rng.normal(size=(clusters, dimensions))
    vectors = centres[label] + 0.2 * rng.normal(size=(len(label), dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.lists(st.integers(0, 15), min_size=1, max_size=3, unique=True),
        ),
        max_size=40,
    ),
    st.lists(
        st.lists(st.integers(0, 15), min_size=1, max_size=3, unique=True), min_size=8, max_size=8
    ),
    st.integers(2, 5),
)
def test_no_document_of_an_example_is_a_positive_of_another_of_its_batch(
    examples: list[tuple[int, list[int]]], positives: list[list[int]], size: int
) -> None:
    # An example holds a positive of its query, and perhaps more.
    rows = [[positives[q][0], *documents] for q, documents in examples]
    query = np.array([q for q, _ in examples], dtype=np.int64)
    items = Items(query, lists(rows), lists(positives))
    everything = np.arange(len(examples))
    batches, rest = batchers.pack(np.array_split(everything, 3), items, size)
    assert Counter(batches.ravel().tolist() + rest.tolist()) == Counter(everything.tolist())
    for batch in batches.tolist():
        for one in batch:
            for other in batch:
                if one != other:
                    assert not set(rows[one]) & set(positives[query[other]])


def test_an_example_that_conflicts_waits_for_the_next_batch() -> None:
    # Queries 0 and 1 share the positive 7.
    items = Items(np.arange(4), lists([[7], [7], [2], [3]]), lists([[7], [7], [2], [3]]))
    batches, rest = batchers.pack([np.arange(4)], items, 2)
    assert batches.tolist() == [[0, 2], [1, 3]]
    assert rest.tolist() == []


def test_what_is_left_of_clusters_is_put_together() -> None:
    items = Items(np.arange(6), lists([[i] for i in range(6)]), lists([[i] for i in range(6)]))
    batches, rest = batchers.pack([np.array([0, 1, 2]), np.array([3, 4, 5])], items, 2)
    assert batches.tolist() == [[0, 1], [3, 4], [2, 5]]
    assert rest.tolist() == []


def test_rounds_visit_every_query_before_one_comes_again() -> None:
    query = np.array([0, 0, 0, 1, 2, 2])
    order = batchers.rounds(query, np.array([2, 0, 1]))
    assert order.tolist() == [4, 0, 3, 5, 1, 2]


def test_balanced_clusters_are_of_one_size_and_find_the_groups() -> None:
    vectors, label = clustered(8, 16)
    clusters = batchers.balanced_clusters(vectors, 16, np.random.default_rng(0))
    assert sorted(np.concatenate(clusters).tolist()) == list(range(128))
    assert [len(cluster) for cluster in clusters] == [16] * 8
    purity = np.mean([np.bincount(label[cluster]).max() / 16 for cluster in clusters])
    assert purity > 0.6


@pytest.mark.parametrize(("count", "size"), [(0, 4), (1, 4), (10, 4), (7, 1), (33, 16)])
def test_only_the_last_balanced_cluster_may_be_short(count: int, size: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(count, 3))
    clusters = batchers.balanced_clusters(vectors, size, np.random.default_rng(0))
    lengths = [len(cluster) for cluster in clusters]
    assert sum(lengths) == count
    assert sum(length != size for length in lengths) <= 1


def test_equal_vectors_are_divided_too() -> None:
    clusters = batchers.balanced_clusters(np.ones((9, 2)), 3, np.random.default_rng(0))
    assert [len(cluster) for cluster in clusters] == [3, 3, 3]


def test_a_bin_of_the_margin_is_drawn_before_an_example() -> None:
    # Nine of ten examples share a bin: each bin is drawn half of the time all the same.
    margin = np.array([0.0] * 9 + [1.0])
    query = np.zeros(10, dtype=np.int64)
    drawn = [
        batchers.balanced_draw(query, margin, np.random.default_rng(seed))[0] for seed in range(400)
    ]
    assert 0.4 < np.mean(np.array(drawn) == 9) < 0.6
    assert len(set(drawn)) == 10


def test_an_example_is_drawn_for_every_query_whatever_its_margin() -> None:
    query = np.array([0, 0, 2, 2, 5])
    margin = np.array([np.nan, np.nan, 3.0, 3.0, np.nan])
    drawn = batchers.balanced_draw(query, margin, np.random.default_rng(0))
    assert query[drawn].tolist() == [0, 2, 5]
    assert batchers.balanced_draw(query[:0], margin[:0], np.random.default_rng(0)).tolist() == []


def test_an_edge_goes_both_ways() -> None:
    # On a line of angles everybody's neighbours are mutual, but at the ends.
    angle = np.linspace(0, 1, 6)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # Rank 0 is a query's own positive, 1 and 2 are the nearest others.
    graph = batchers.rank_graph(vectors, vectors, 1, 2).toarray()
    assert (graph == graph.T).all()
    assert (np.diag(graph) == 0).all()
    assert graph[2, 1] == graph[2, 3] == 1
    assert graph[0, 2] == 0, "2 has nearer ones than 0"


def test_grown_clusters_follow_the_edges() -> None:
    vectors, label = clustered(4, 8, seed=3)
    graph = batchers.rank_graph(vectors, vectors, 0, 8)
    clusters = batchers.grown_clusters(graph, 8, np.random.default_rng(0))
    assert sorted(np.concatenate(clusters).tolist()) == list(range(32))
    assert max(len(cluster) for cluster in clusters) <= 8
    assert all(len(set(label[cluster].tolist())) == 1 for cluster in clusters)


def test_kmeans_is_the_same_every_time() -> None:
    vectors, label = clustered(4, 20)
    first = batchers.kmeans(vectors, 4, 7)
    assert first.tolist() == batchers.kmeans(vectors, 4, 7).tolist()
    assert len(set(zip(first.tolist(), label.tolist(), strict=True))) <= 7
    assert batchers.kmeans(vectors[:1], 4, 7).tolist() == [0]


def test_hardness_is_the_hardest_batch_mate() -> None:
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    assert batchers.hardness(vectors, vectors, np.array([[0, 1], [2, 3]])) == pytest.approx(0.4)
    assert np.isnan(batchers.hardness(vectors, vectors, np.empty((0, 2), dtype=np.int64)))


@pytest.mark.parametrize("method", ["ngame", "b3", "tas-balanced"])
def test_every_method_is_harder_than_chance(method: str) -> None:
    vectors, _ = clustered(16, 8, seed=5)
    rng = np.random.default_rng(0)
    count = len(vectors)
    one = lists([[i] for i in range(count)])
    items = Items(np.arange(count), one, one)
    if method == "tas-balanced":
        cluster = batchers.kmeans(vectors, 16, 0)
        sequences = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    elif method == "ngame":
        sequences = [batchers.shuffled(batchers.balanced_clusters(vectors, 8, rng), rng)]
    else:
        graph = batchers.rank_graph(vectors, vectors, 0, 8)
        sequences = [batchers.shuffled(batchers.grown_clusters(graph, 8, rng), rng)]
    batches, _ = batchers.pack(sequences, items, 8)
    random, _ = batchers.pack([rng.permutation(count)], items, 8)
    hard = batchers.hardness(vectors, vectors, batches)
    assert hard > batchers.hardness(vectors, vectors, random) + 0.1

"""Who sits together: pure functions from vectors and examples to batches.

In-batch training takes every other example's documents as negatives, so a batch teaches more when
its queries are near each other, and teaches wrong when a document of one example is a positive of
another one's query. The functions here order examples by the three methods of the literature, and
:func:`pack` cuts the order into batches that are free of such false negatives.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from negmine.table.ranking import group_starts

#: Equal-width bins of the teacher's margin (TAS-Balanced, Hofstätter et al. 2021).
MARGIN_BINS = 10
_BISECTIONS = 8
#: How many of the examples that wait are tried for one batch, in batches.
_PATIENCE = 16
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Lists:
    """Ragged lists: ``values[offsets[i]:offsets[i + 1]]`` is list i."""

    values: np.ndarray
    offsets: np.ndarray

    def of(self, index: int) -> list[int]:
        """List ``index``."""
        found: list[int] = self.values[self.offsets[index] : self.offsets[index + 1]].tolist()
        return found


@dataclass(frozen=True)
class Items:
    """Examples as a batcher sees them.

    Attributes:
        query: query of each example [e].
        documents: documents of each example: its positives and its negatives.
        positives: known positives of each *query*.
    """

    query: np.ndarray
    documents: Lists
    positives: Lists


def pack(
    sequences: Sequence[np.ndarray], items: Items, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut ordered examples into full batches without false in-batch negatives.

    An example that would bring a document which is a positive of another query of the batch, or
    whose own positive is there already, waits for the next batch. What is left of a sequence is
    packed with the rests of the others, in their order.

    Greedy and in order, hence a loop: an example's place depends on those before it.

    Args:
        sequences: examples, near ones near each other; batches do not cross sequences.
        items: what the examples hold.
        batch_size: examples of a batch.

    Returns:
        (batches [b, batch_size] of example numbers, the examples that fit in none).
    """
    batches: list[list[int]] = []
    rests: list[int] = []
    for sequence in sequences:
        full, rest = _packed(sequence.tolist(), items, batch_size)
        batches += full
        rests += rest
    full, rests = _packed(rests, items, batch_size)
    batches += full
    return (
        np.array(batches, dtype=np.int64).reshape(-1, batch_size),
        np.array(rests, dtype=np.int64),
    )


def _packed(
    sequence: list[int], items: Items, batch_size: int
) -> tuple[list[list[int]], list[int]]:
    waiting: deque[int] = deque()
    batches: list[list[int]] = []
    upcoming = iter(sequence)
    while True:
        batch: list[int] = []
        documents: set[int] = set()
        positives: set[int] = set()
        passed: list[int] = []
        # Those that wait are tried a bounded number of times; every other one is met once.
        again = min(len(waiting), _PATIENCE * batch_size)
        while len(batch) < batch_size:
            example = waiting.popleft() if again else next(upcoming, None)
            again = max(0, again - 1)
            if example is None:
                break
            own = items.documents.of(example)
            known = items.positives.of(int(items.query[example]))
            if positives.isdisjoint(own) and documents.isdisjoint(known):
                batch.append(example)
                documents.update(own)
                positives.update(known)
            else:
                passed.append(example)
        waiting.extendleft(reversed(passed))
        if len(batch) < batch_size:
            return batches, batch + list(waiting)
        batches.append(batch)


def rounds(query: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Examples in rounds: the first one of every query, then the second ones, and so on.

    Args:
        query: query of each example, ascending.
        order: queries in the order in which a round visits them.
    """
    starts = group_starts(query)
    lengths = np.diff(np.append(starts, len(query)))
    turn = np.arange(len(query)) - np.repeat(starts, lengths)
    place = np.empty(int(query.max(initial=-1)) + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    return np.lexsort((place[query], turn))


# --- TAS-Balanced -----------------------------------------------------------------------------


def kmeans(vectors: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Cluster of each vector by k-means on the unit sphere (faiss)."""
    import faiss

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    clusters = min(clusters, len(vectors))
    if clusters <= 1:
        return np.zeros(len(vectors), dtype=np.int64)
    model = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=20,
        seed=seed,
        spherical=True,
        # Small data sets are no mistake here.
        min_points_per_centroid=1,
    )
    model.train(vectors)
    return model.index.search(vectors, 1)[1][:, 0].astype(np.int64)


def balanced_draw(
    query: np.ndarray, margin: np.ndarray, rng: np.random.Generator, bins: int = MARGIN_BINS
) -> np.ndarray:
    """One example per query: a bin of the teacher's margin at random, then one in it.

    The bins divide a query's own range of margins into equal widths; empty ones do not count, which
    is drawing again until one is not empty. Examples without a margin share a bin.

    Args:
        query: query of each example, ascending.
        margin: positive's minus negative's score, NaN = unknown.
        rng: randomness.
        bins: how many bins.

    Returns:
        The drawn examples, in the queries' order.
    """
    starts = group_starts(query)
    lengths = np.diff(np.append(starts, len(query)))
    if len(starts) == 0:
        return np.empty(0, dtype=np.int64)
    known = ~np.isnan(margin)
    low = np.repeat(np.minimum.reduceat(np.where(known, margin, np.inf), starts), lengths)
    high = np.repeat(np.maximum.reduceat(np.where(known, margin, -np.inf), starts), lengths)
    # A query without any margin has the width -inf: its examples are all unknown.
    width = np.where(high > low, high - low, 1.0)
    place = np.where(known, (np.where(known, margin, 0.0) - np.where(known, low, 0.0)) / width, 0)
    bin_ = np.where(known, np.clip((place * bins).astype(np.int64), 0, bins - 1), bins)
    number = np.repeat(np.arange(len(starts)), lengths)
    luck = rng.random((len(starts), bins + 1))[number, bin_]
    return np.lexsort((rng.random(len(query)), luck, query))[starts]


# --- NGAME ------------------------------------------------------------------------------------


def balanced_clusters(vectors: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Clusters of equal size by repeated halving (balanced 2-means), the last one perhaps smaller.

    NGAME (Dahiya et al. 2022) clusters in this way, so that clusters of neighbours can be put
    together into batches.
    """
    done: list[np.ndarray] = []
    open_ = [np.arange(len(vectors))]
    while open_:
        rows = open_.pop()
        if len(rows) <= size:
            done.append(rows)
            continue
        half = (-(-len(rows) // size) // 2) * size
        order = _bisected(vectors[rows], half, rng)
        open_ += [rows[order[half:]], rows[order[:half]]]
    return [rows for rows in done if len(rows)]


def _bisected(vectors: np.ndarray, left: int, rng: np.random.Generator) -> np.ndarray:
    """Row order in which the first ``left`` make one of two balanced clusters."""
    first, second = rng.choice(len(vectors), 2, replace=False)
    direction = vectors[first] - vectors[second]
    order = np.argsort(-(vectors @ direction), kind="stable")
    for _ in range(_BISECTIONS):
        direction = _unit(vectors[order[:left]].sum(0)) - _unit(vectors[order[left:]].sum(0))
        better = np.argsort(-(vectors @ direction), kind="stable")
        if np.array_equal(np.sort(better[:left]), np.sort(order[:left])):
            return better
        order = better
    return order


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def shuffled(clusters: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The clusters' members, whole clusters in random order."""
    if not clusters:
        return np.empty(0, dtype=np.int64)
    return np.concatenate([clusters[i] for i in rng.permutation(len(clusters))])


# --- B3 ---------------------------------------------------------------------------------------


def rank_graph(
    queries: np.ndarray, positives: np.ndarray, first: int, count: int
) -> sparse.csr_matrix:
    """Which queries are hard for each other: edges where both rank the other's positive near.

    B3 (Thirukovalluru et al. 2025): a query is tied to those whose positives the teacher puts at
    the ranks ``first`` to ``first + count - 1`` of all positives (0-based; what lies before is
    suspected to be relevant), and an edge counts where it goes both ways.

    Args:
        queries: a vector per query [n, d].
        positives: a vector of its positive per query [n, d].
        first: ranks left out at the top.
        count: ranks taken.
    """
    import faiss

    n = len(queries)
    stop = min(first + count, n)
    first = min(first, stop)
    positives = np.ascontiguousarray(positives, dtype=np.float32)
    rows, columns = [], []
    for start in range(0, n, _ROWS_AT_ONCE):
        block = np.ascontiguousarray(queries[start : start + _ROWS_AT_ONCE], dtype=np.float32)
        _, found = faiss.knn(block, positives, stop, metric=faiss.METRIC_INNER_PRODUCT)
        columns.append(found[:, first:].ravel())
        rows.append(np.repeat(np.arange(start, start + len(block)), stop - first))
    row = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    column = np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)
    other = row != column
    edges = np.ones(int(other.sum()), dtype=np.float32)
    graph = sparse.csr_matrix((edges, (row[other], column[other])), shape=(n, n))
    return graph.minimum(graph.T).tocsr()


def grown_clusters(
    graph: sparse.csr_matrix, size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Clusters of a graph, each grown from a node by whoever has the most edges into it.

    B3 cuts its graph with METIS; growing needs no further package, keeps every cluster within
    ``size``, and is the same on every machine. A cluster that runs out of neighbours stays small.
    """
    n = graph.shape[0]
    free = np.ones(n, dtype=bool)
    neighbours = Lists(graph.indices, graph.indptr)
    clusters: list[np.ndarray] = []
    for seed in rng.permutation(n).tolist():
        if not free[seed]:
            continue
        cluster: list[int] = []
        edges: dict[int, int] = {seed: 0}
        heap = [(0, seed)]
        while heap and len(cluster) < size:
            ties, node = heapq.heappop(heap)
            if not free[node] or -ties != edges[node]:
                continue
            free[node] = False
            cluster.append(node)
            for other in neighbours.of(node):
                if free[other]:
                    edges[other] = edges.get(other, 0) + 1
                    heapq.heappush(heap, (-edges[other], other))
        clusters.append(np.array(cluster, dtype=np.int64))
    return clusters


# --- how hard ---------------------------------------------------------------------------------


def hardness(queries: np.ndarray, positives: np.ndarray, batches: np.ndarray) -> float:
    """Mean similarity of an example's query and the hardest positive of its batch-mates.

    Args:
        queries: a vector per example [e, d].
        positives: a vector of its positive per example [e, d].
        batches: example numbers [b, size].
    """
    if batches.size == 0 or batches.shape[1] < 2:
        return float("nan")
    total = 0.0
    for batch in batches:
        similarity = queries[batch] @ positives[batch].T
        np.fill_diagonal(similarity, -np.inf)
        total += float(similarity.max(axis=1).sum())
    return total / batches.size

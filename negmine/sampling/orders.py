"""Batchers by name: in which order examples are packed, near ones near each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from negmine.sampling import batchers, method
from negmine.sampling.method import Method
from negmine.table.ranking import group_starts

#: TAS-Balanced's own ratio: 2000 clusters for 400,000 training queries.
_QUERIES_PER_CLUSTER = 200
#: B3's window of teacher ranks for retrieval: 30 left out at the top, 100 taken.
_B3_FIRST, _B3_COUNT = 30, 100


class BatcherOptions(Protocol):
    """The parameters that batchers read."""

    @property
    def clusters(self) -> int | None:
        """Clusters of queries; None = by their number."""

    @property
    def cluster_size(self) -> int:
        """Queries of a cluster."""

    @property
    def rounds(self) -> int:
        """Times that every query is drawn."""

    @property
    def seed(self) -> int:
        """Of what is drawn by a clustering."""


@dataclass(frozen=True)
class Group:
    """Examples that may share batches.

    Attributes:
        query: number of each example's query, 0, 1, 2, ... [e].
        queries: a vector per query.
        positives: a vector of its positive per query.
        margin: the teacher's margin of each example [e]; empty unless the batcher reads it.
    """

    query: np.ndarray
    queries: np.ndarray
    positives: np.ndarray
    margin: np.ndarray

    @property
    def by_query(self) -> np.ndarray:
        """The examples, those of one query together."""
        return np.argsort(self.query, kind="stable")

    def visited(self, order: np.ndarray) -> np.ndarray:
        """The examples in rounds over the queries, which come in an order."""
        by_query = self.by_query
        return by_query[batchers.rounds(self.query[by_query], order)]


#: Sequences of examples, and what the user should know.
Ordered = tuple[list[np.ndarray], str]


@dataclass(frozen=True)
class Batcher(Method):
    """An order of examples.

    Attributes:
        order: the examples of a group in sequences, each packed from its start.
        margins: whether it reads the teacher's margins.
    """

    order: Callable[[Group, BatcherOptions, np.random.Generator], Ordered]
    margins: bool = field(default=False, kw_only=True)


def _tas(group: Group, options: BatcherOptions, rng: np.random.Generator) -> Ordered:
    """Per cluster of queries, in random order, an example of each query; and again every round."""
    count = len(group.queries)
    clusters = options.clusters or max(1, count // _QUERIES_PER_CLUSTER)
    cluster = batchers.kmeans(group.queries, clusters, options.seed)
    remark = ""
    if cluster.max(initial=0) == 0:
        remark = (
            f"tas-balanced: {count} queries make one cluster (one per {_QUERIES_PER_CLUSTER} "
            "queries by default), so that their batches are random; --clusters N makes more"
        )
    query, by_query, margin = group.query, group.by_query, group.margin
    sequences = []
    for _ in range(options.rounds):
        drawn = by_query[batchers.balanced_draw(query[by_query], margin[by_query], rng)]
        drawn = drawn[rng.permutation(len(drawn))]
        drawn = drawn[np.argsort(cluster[query[drawn]], kind="stable")]
        sequences += np.split(drawn, group_starts(cluster[query[drawn]])[1:])
    return sequences, remark


def _ngame(group: Group, options: BatcherOptions, rng: np.random.Generator) -> Ordered:
    """Balanced clusters of queries, in random order."""
    clusters = batchers.balanced_clusters(group.queries, options.cluster_size, rng)
    return [group.visited(batchers.shuffled(clusters, rng))], ""


def _b3(group: Group, options: BatcherOptions, rng: np.random.Generator) -> Ordered:
    """Clusters of the graph of who is hard for whom, in random order."""
    count = len(group.queries)
    first = min(_B3_FIRST, count // 4)
    remark = ""
    if first < _B3_FIRST:
        remark = (
            f"b3: of {count} queries the {first} best-ranked positives are left out and not "
            f"{_B3_FIRST}, which need {4 * _B3_FIRST} queries"
        )
    graph = batchers.rank_graph(group.queries, group.positives, first, _B3_COUNT)
    clusters = batchers.grown_clusters(graph, options.cluster_size, rng)
    return [group.visited(batchers.shuffled(clusters, rng))], remark


BATCHERS = method.table(
    Batcher(
        "tas-balanced",
        "clusters of queries, margins balanced",
        _tas,
        options=("clusters", "rounds"),
        margins=True,
    ),
    Batcher("ngame", "balanced clusters of queries", _ngame, options=("cluster_size",)),
    Batcher("b3", "clusters of who is hard for whom", _b3, options=("cluster_size",)),
)


def batcher(name: str) -> Batcher:
    """The batcher of a name.

    Raises:
        UsageError: there is none.
    """
    return method.find(BATCHERS, name, "--batcher")

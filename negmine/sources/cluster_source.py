"""``--source NAME=clusters:ENCODER``: documents of the cluster next to a positive's.

ClusterNS (Clustering-Aware Negative Sampling for Unsupervised Sentence Representation, ACL 2023)
takes the second-nearest *centroid* as the hard negative while it trains. Ours, offline: the
documents of that centroid's cluster, the best by their likeness to the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pyarrow as pa

from negmine.sources.base import Asked, Capabilities, Hits
from negmine.sources.clusters import Choice, Clusters
from negmine.sources.dense import DenseSource
from negmine.sources.exact import SEARCH_ERROR
from negmine.sources.nearest import Nearest, Pairs, joined
from negmine.sources.vectors import ALONE_BYTES, Vectors, float32, products
from negmine.table.documents import Documents
from negmine.table.ranking import group_starts, positions_in_group

#: The column that tells each row's cluster.
CLUSTER = "cluster"
#: Bytes of a pair of a query and a document while the best are looked for, in several orders.
_PAIR_BYTES = 96
_LEAST_QUERIES = 64


class ClusterSource:
    """Documents of some clusters, the best by the encoder that the clusters are of.

    Of each known positive it is the cluster of the nearest centroid that is none of the query's
    positives' own: with one positive the second-nearest. The best k of a query's clusters are its
    hits, by (-inner product with the query, docid); the column ``cluster`` tells every row's.

    Args:
        documents: the corpus.
        vectors: its vectors.
        clusters: theirs.
        dense: the encoder's own source: it makes the queries' vectors, and scores pairs.
        choice: which clusters.
        memory: bytes for a search.
        own: whether nobody else asks ``dense``.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(searches=False, reads_corpus=True)
    columns: ClassVar[Mapping[str, pa.DataType]] = {CLUSTER: pa.int32()}

    def __init__(
        self,
        documents: Documents,
        vectors: Vectors,
        clusters: Clusters,
        dense: DenseSource,
        choice: Choice,
        *,
        memory: int,
        own: bool = True,
    ) -> None:
        self._documents, self._vectors, self._clusters = documents, vectors, clusters
        self._dense, self._own, self._choice, self._memory = dense, own, choice, memory

    def search(self, asked: Asked, k: int) -> Hits:
        """The k best documents of each query's clusters, by (-score, docid)."""
        queries = self._dense.vectors_of(asked)
        query, cluster = self._wanted(asked, queries)
        nearest = Nearest(self._vectors, self._documents.ids)
        at_once = max(_LEAST_QUERIES, self._memory // (2 * _PAIR_BYTES * k))
        found = []
        for start in range(0, len(asked), at_once):
            some = (query >= start) & (query < start + at_once)
            best = _Best(nearest, queries[start : start + at_once], k)
            self._meet(best, query[some] - start, cluster[some])
            number, rows, score = best.sorted()
            found.append((number + start, rows, score))
        number, rows, score = joined(found)
        return Hits(number.astype(np.int32), self._documents.ids(rows), score)

    def _wanted(self, asked: Asked, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(query, cluster), each pair once, by cluster and query."""
        if self._choice.query:
            nearest = self._clusters.centroids.nearest(queries, 2)
            query = np.arange(len(asked))
            cluster = nearest[:, 0 if self._choice.same else 1]
        else:
            query, cluster = self._of_positives(asked)
        # The remainder of a division by no query is of none.
        width = max(1, len(asked))
        keys = np.unique(cluster.astype(np.int64) * width + query)
        return keys % width, keys // width

    def _of_positives(self, asked: Asked) -> tuple[np.ndarray, np.ndarray]:
        """(query, cluster) by the known positives."""
        rows = self._documents.rows(asked.positive_docid)
        query, rows = asked.positive_query[rows >= 0].astype(np.int64), rows[rows >= 0]
        own, following = self._clusters.take(rows).T.astype(np.int64)
        if self._choice.same:
            return query, own
        count = len(self._clusters.centroids)
        owned = np.unique(query * count + own)
        lost = np.flatnonzero(np.isin(query * count + following, owned))
        if len(lost):
            # The second-nearest is another positive's own: the next one that is not.
            most = int(np.bincount(owned // count).max())
            depth = min(count, most + 1)
            every = self._clusters.centroids.nearest(self._vectors.take(rows[lost]), depth)
            free = ~np.isin(query[lost, None] * count + every, owned)
            following[lost] = np.where(
                free.any(axis=1), every[np.arange(len(lost)), free.argmax(axis=1)], -1
            )
        there = following >= 0
        return query[there], following[there]

    def _meet(self, best: _Best, query: np.ndarray, cluster: np.ndarray) -> None:
        """Show each query the documents of its clusters; both arrays are by cluster."""
        starts = np.searchsorted(cluster, np.arange(len(self._clusters.centroids) + 1))
        asked = np.diff(starts) > 0
        for first, rows, vectors, of in self._asked_rows(asked):
            bounds = np.append(group_starts(of), len(of)).tolist()
            for low, high in pairwise(bounds):
                whose = query[starts[of[low]] : starts[of[low] + 1]]
                best.add(whose, first + rows[low:high], vectors[low:high])

    def _asked_rows(
        self, asked: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """(first row, rows from there, their vectors, their clusters) of a block, by cluster.

        Args:
            asked: the clusters that matter, bool [clusters].
        """
        for number, (first, nearest) in enumerate(self._clusters.parts()):
            cluster = np.ascontiguousarray(nearest[:, 0])
            rows = np.flatnonzero(asked[cluster])
            rows = rows[np.argsort(cluster[rows], kind="stable")]
            part = self._vectors.part(number)
            size = max(1, self._memory // 8 // (4 * max(1, part.shape[1])))
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                yield first, some, float32(part[some]), cluster[some]

    def score(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Inner product of each (query index, docid) pair; NaN where there is no such document."""
        return self._dense.score(asked, query, docids)

    def say(self, asked: Asked, query: np.ndarray, docids: pa.Array) -> Mapping[str, pa.Array]:
        """The cluster of each pair's document, null where there is no such document."""
        rows = self._documents.rows(docids)
        cluster = np.zeros(len(rows), dtype=np.int32)
        cluster[rows >= 0] = self._clusters.take(rows[rows >= 0])[:, 0]
        return {CLUSTER: pa.array(cluster, mask=rows < 0)}

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the encoder reads for these queries, where it reads for nobody else."""
        return self._dense.tokens(queries) if self._own else 0

    def close(self) -> None:
        """Let go of the model, if it is nobody else's."""
        if self._own:
            self._dense.close()


class _Best:
    """The best k documents of each query so far.

    A float32 product tells what may be among them, the exact one what is; what does not reach a
    query's k-th best so far is forgotten now and then: about 2 k are held of each.

    Args:
        nearest: the vectors, and how they are ranked.
        queries: float32 [n, dim].
        k: documents of each.
    """

    def __init__(self, nearest: Nearest, queries: np.ndarray, k: int) -> None:
        self._nearest, self._queries, self._k = nearest, queries, k
        lengths = np.linalg.norm(queries, axis=1)
        self._error = SEARCH_ERROR * nearest.vectors.longest * lengths
        self._limit = np.full(len(queries), -np.inf, dtype=np.float32)
        self._kept: list[Pairs] = []
        self._held, self._most = 0, 2 * k * max(_LEAST_QUERIES, len(queries))

    def add(self, whose: np.ndarray, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Compare some queries with some documents.

        Args:
            whose: the queries' numbers.
            rows: row numbers of the documents.
            vectors: their vectors, float32.
        """
        at_once = max(1, ALONE_BYTES // (8 * len(rows)))
        for low in range(0, len(whose), at_once):
            some = whose[low : low + at_once]
            score = self._queries[some] @ vectors.T
            at, place = np.nonzero(score >= (self._limit - self._error)[some][:, None])
            self._take(some[at], rows, vectors, place)

    def _take(
        self, query: np.ndarray, rows: np.ndarray, vectors: np.ndarray, place: np.ndarray
    ) -> None:
        size = max(1, ALONE_BYTES // (24 * max(1, vectors.shape[1])))
        for low in range(0, len(query), size):
            some = slice(low, low + size)
            exact = products(self._queries[query[some]], vectors[place[some]])
            reach = np.flatnonzero(exact >= self._limit[query[some]])
            self._kept.append((query[some][reach], rows[place[some][reach]], exact[reach]))
            self._held += len(reach)
            if self._held > self._most:
                self._cut()

    def _cut(self) -> Pairs:
        """Forget all but the best; returns them, in order."""
        best = self._nearest.ranked(*joined(self._kept), self._k)
        query, _, score = best
        last = positions_in_group(query) == self._k
        self._limit[query[last]] = score[last]
        self._kept, self._held = [best], len(query)
        return best

    def sorted(self) -> Pairs:
        """(query, row, score) of the best, in order."""
        return self._cut()

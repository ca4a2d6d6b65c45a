"""Clusters of stored vectors: k-means over a sample by FAISS, each document's nearest centroids.

A document belongs to the cluster whose centroid is nearest: by inner product where vectors have
length 1 (spherical k-means), else by Euclidean distance. Which one that is, is decided by exact
products, so neither blocks nor threads show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from negmine.engine.parts import over_parts
from negmine.memory import MIB
from negmine.sources.exact import SEARCH_ERROR
from negmine.sources.vectors import Vectors, float32, processor_threads
from negmine.table import arrays
from negmine.table.artifacts.reading import Artifact
from negmine.table.artifacts.writing import Writer
from negmine.table.ranking import positions_in_group

#: The centroids' file; the documents' are the vectors'.
CENTROIDS = "centroids.npy"
#: Clusters where their number follows from the corpus.
LEAST, MOST = 2, 4096
#: Vectors that k-means learns from: so many of each cluster, or so many in all. They, and rounds
#: of it, decide the centroids, so they follow from the corpus alone and never from the memory.
_PER_CLUSTER, _LEAST_SAMPLE, _ROUNDS = 64, 16_384, 20
_SEED = 1
#: Vectors that are compared with the centroids at a time, at most and at least.
_BLOCK, _LEAST_BLOCK = 1024, 16
#: Bytes of a number of a block of products: itself, sorted, and whether it is near the best.
_PRODUCT_BYTES = 12

Ints = npt.NDArray[np.int32]


def count_for(documents: int) -> int:
    """How many clusters a corpus gets where nobody says: the square root of its documents.

    So there are about as many clusters as documents in each; from 2 to 4,096.
    """
    return min(MOST, max(LEAST, round(math.sqrt(documents))))


def sampled(clusters: int, documents: int) -> int:
    """How many vectors k-means learns from."""
    return min(documents, max(_LEAST_SAMPLE, _PER_CLUSTER * clusters))


def held_to_build(clusters: int, dimension: int, documents: int) -> int:
    """Bytes that :func:`train` takes: the sample, and a few times the centroids."""
    learning = 4 * dimension * (sampled(clusters, documents) + 4 * clusters)
    # FAISS compares some thousand vectors with some thousand centroids at a time.
    return learning + 32 * MIB


def train(vectors: Vectors, clusters: int, spherical: bool) -> np.ndarray:
    """Centroids by k-means over a sample that is the same for the same corpus.

    One thread does it: only so are the sums, and the bytes, the same every time.

    Args:
        vectors: the corpus.
        clusters: how many, at most as many as there are documents.
        spherical: whether centroids are brought to length 1, and compared by products.

    Returns:
        float32 [clusters, dim].
    """
    rng = np.random.default_rng(_SEED)
    size = sampled(clusters, len(vectors))
    rows = np.sort(rng.choice(len(vectors), size, replace=False, shuffle=False))
    sample = vectors.take(rows)

    def learned() -> np.ndarray:
        import faiss

        means = faiss.Kmeans(
            sample.shape[1],
            clusters,
            niter=_ROUNDS,
            spherical=spherical,
            seed=_SEED,
            # It is told beforehand how many it gets: neither fewer nor a warning.
            min_points_per_centroid=1,
            max_points_per_centroid=-(-size // clusters),
        )
        means.train(sample)
        return np.asarray(means.centroids).reshape(clusters, sample.shape[1])

    with processor_threads(), ThreadPoolExecutor(1, initializer=_alone) as pool:
        return pool.submit(learned).result()


def _alone() -> None:
    import faiss

    faiss.omp_set_num_threads(1)


@dataclass(frozen=True)
class Choice:
    """Whose cluster is asked, and which one.

    Attributes:
        query: the query's own vector is asked, not its known positives.
        same: the nearest cluster itself, not the one that comes next.
    """

    query: bool = False
    same: bool = False


@dataclass(frozen=True, eq=False)
class Centroids:
    """The middles of clusters.

    Attributes:
        vectors: float32 [clusters, dim].
        spherical: whether the nearest is that of the greatest product.
        memory: bytes for comparing.
    """

    vectors: np.ndarray
    spherical: bool
    memory: int = 256 * MIB

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def _half(self) -> np.ndarray:
        """What is taken off a product, float64 [clusters]: half of the squared length, or 0."""
        if self.spherical:
            return np.zeros(len(self), dtype=np.float64)
        wide = self.vectors.astype(np.float64)
        half: np.ndarray = np.einsum("ij,ij->i", wide, wide) / 2
        return half

    @cached_property
    def _longest(self) -> float:
        return float(np.linalg.norm(self.vectors, axis=1).max())

    def nearest(self, vectors: np.ndarray, count: int) -> Ints:
        """The nearest centroids of each vector, nearest first, ties by number.

        Args:
            vectors: float32 [n, dim].
            count: how many are wanted, at most as many as there are.

        Returns:
            int32 [n, count].
        """
        found = np.empty((len(vectors), count), dtype=np.int32)
        with processor_threads() as threads:
            fitting = self.memory // (threads * _PRODUCT_BYTES * len(self))
            size = max(_LEAST_BLOCK, min(_BLOCK, fitting))

            def work(start: int) -> None:
                some = slice(start, start + size)
                found[some] = self._nearest(vectors[some], count)

            with ThreadPoolExecutor(threads, thread_name_prefix="clusters") as pool:
                for task in [pool.submit(work, at) for at in range(0, len(vectors), size)]:
                    task.result()
        return found

    def _nearest(self, vectors: np.ndarray, count: int) -> Ints:
        score = vectors @ self.vectors.T
        score -= self._half.astype(np.float32)
        level = np.partition(score, len(self) - count, axis=1)[:, len(self) - count]
        reach = self._longest * (np.linalg.norm(vectors, axis=1) + self._longest)
        row, cluster = np.nonzero(score >= (level - SEARCH_ERROR * reach)[:, None])
        # The exact scores decide between all that the others cannot tell apart.
        wide = self.vectors[cluster].astype(np.float64)
        exact = np.einsum("ij,ij->i", vectors[row].astype(np.float64), wide) - self._half[cluster]
        order = np.lexsort((cluster, -exact.astype(np.float32), row))
        kept = order[positions_in_group(row[order]) <= count]
        return cluster[kept].reshape(len(vectors), count).astype(np.int32)


def assign(
    vectors: Vectors, centroids: Centroids, writer: Writer, progress: Callable[[int], None]
) -> None:
    """Write ``part-NNNNN.npy`` for each of the vectors': int32 [rows, 2], a row per document.

    The numbers of its nearest and its second-nearest centroid.

    Args:
        vectors: the corpus.
        centroids: of its clusters.
        writer: where the parts go; those that an interrupted run finished are kept.
        progress: told how many more documents are done.
    """
    numbers = {name: number for number, name in enumerate(vectors.names)}

    def made(_: None, name: str, number: int) -> np.ndarray:
        return centroids.nearest(float32(vectors.part(number)), 2)

    def write(name: str, nearest: np.ndarray) -> None:
        writer.add_array(name, nearest)
        progress(len(nearest))

    over_parts(
        numbers.items(),
        finished=writer.has,
        make=made,
        write=write,
        skipped=lambda name, number: progress(vectors.artifact.rows(name)),
    )


class Clusters:
    """What an index knows of the clusters of its documents; rows are numbered through the parts.

    Args:
        artifact: as :func:`assign` wrote it.
        memory: bytes for comparing with the centroids.
    """

    def __init__(self, artifact: Artifact, memory: int = 256 * MIB) -> None:
        self.artifact = artifact
        self.names = [name for name in artifact.files if name != CENTROIDS]
        self.offsets = np.concatenate(
            ([0], np.cumsum([artifact.rows(name) for name in self.names]))
        ).astype(np.int64)
        self.centroids = Centroids(
            np.asarray(arrays.mapped(artifact.file(CENTROIDS))),
            bool(artifact.counts["spherical"]),
            memory,
        )

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def part(self, number: int) -> Ints:
        """Nearest and second-nearest cluster of a part's documents, a memory map."""
        with self.artifact.held(self.names[number]) as path:
            return arrays.mapped(path)

    def parts(self) -> Iterator[tuple[int, Ints]]:
        """(first row, :meth:`part`) in order."""
        for number, first in enumerate(self.offsets[:-1].tolist()):
            yield first, self.part(number)

    def take(self, rows: np.ndarray) -> Ints:
        """Nearest and second-nearest cluster of row numbers, int32 [n, 2]."""
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        found = np.empty((len(rows), 2), dtype=np.int32)
        for first, part in self.parts():
            low, high = np.searchsorted(ordered, [first, first + len(part)])
            if high > low:
                found[order[low:high]] = part[ordered[low:high] - first]
        return found

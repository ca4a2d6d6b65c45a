"""Approximate dense search with a FAISS index: built in blocks, its recall against exact told.

What it finds is scored again from the stored vectors, so scores are those of exact search; only
some documents may be missing. The index is held in memory as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from negmine.errors import UsageError
from negmine.memory import MIB
from negmine.sources.dense import Vectors, search
from negmine.table.artifact import Artifact

FILE = "index.faiss"
#: Vectors that an index learns from: so many, or so many per inverted list (FAISS wants 39).
_TRAINED_ON, _PER_LIST = 65_536, 40
#: Vectors converted and added at a time.
_BLOCK_BYTES = 32 * MIB
_QUERIES_AT_ONCE = 1024
#: Queries that are searched exactly, too, to see what is missed.
RECALL_QUERIES = 200
_SEED = 1


def _empty(factory: str, dimension: int) -> Any:
    import faiss

    try:
        return faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(
            f"--ann: FAISS makes no index '{factory}' for vectors of {dimension} dimensions",
            hint=f"For example: IVF4096,Flat, HNSW32 or IVF1024,PQ48x4fs. It says: {_last(error)}",
        ) from error


def _last(error: RuntimeError) -> str:
    """FAISS's own words without the place in its source."""
    return str(error).strip().splitlines()[-1][:200]


def bytes_per_vector(factory: str, dimension: int) -> int:
    """What an index of this kind holds of a vector: its code, and its number.

    Raises:
        UsageError: FAISS knows no such index.
    """
    try:
        return int(_empty(factory, dimension).sa_code_size()) + 8
    except RuntimeError:
        # Graphs and other indexes without a code of their own hold the vector.
        return 4 * dimension + 8


def build(vectors: Vectors, factory: str, file: Path) -> int:
    """Train on a sample, add all vectors in order, write the index; returns how many it holds.

    Raises:
        UsageError: FAISS knows no such index, or the corpus is too small to train it.
    """
    import faiss

    _, first = next(vectors.parts())
    index = _empty(factory, first.shape[1])
    if not index.is_trained:
        lists = faiss.try_extract_index_ivf(index)
        wanted = max(_TRAINED_ON, _PER_LIST * lists.nlist if lists is not None else 0)
        rng = np.random.default_rng(_SEED)
        rows = np.sort(rng.choice(len(vectors), min(wanted, len(vectors)), replace=False))
        try:
            index.train(vectors.take(rows))
        except RuntimeError as error:
            raise UsageError(
                f"--ann {factory}: cannot be trained on {len(rows)} vectors",
                hint=f"Take one with fewer lists or codes. FAISS says: {_last(error)}",
            ) from error
    for _, block in vectors.blocks(_BLOCK_BYTES):
        index.add(block)
    faiss.write_index(index, str(file))
    return int(index.ntotal)


@dataclass(frozen=True)
class Ann:
    """An opened index.

    Attributes:
        artifact: where it was read from; its checksum is compared before FAISS parses it.
        index: FAISS's object.
        settings: how it searches, as FAISS's ``ParameterSpace`` reads it.
    """

    artifact: Artifact
    index: Any
    settings: str

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(query index, row) of what is found for each query, at most ``k``."""
        found = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            _, rows = self.index.search(queries[start : start + _QUERIES_AT_ONCE], k)
            found.append(rows)
        rows = np.concatenate(found) if found else np.empty((0, k), dtype=np.int64)
        query = np.repeat(np.arange(len(rows)), rows.shape[1])
        # FAISS fills up with -1 where a search reaches fewer.
        known = rows.ravel() >= 0
        return query[known], rows.ravel()[known]

    def recall(self, vectors: Vectors, queries: np.ndarray, k: int, memory: int) -> dict[str, Any]:
        """The share of the exact best ``k`` that is found, on the first queries."""
        sample = queries[:RECALL_QUERIES]
        k = min(k, len(vectors))
        _, exact = search(vectors, sample, k, memory=memory)
        query, rows = self.search(sample, k)
        width = len(vectors)
        want = (np.arange(len(sample))[:, None] * width + exact).ravel()
        return {
            "factory": self.artifact.manifest["params"]["factory"],
            "search": self.settings,
            "recall": round(float(np.isin(want, query * width + rows).mean()), 4),
            "k": k,
            "queries": len(sample),
        }


def open_index(artifact: Artifact, settings: str) -> Ann:
    """Read an index, its checksum first.

    Raises:
        InvalidDataError: its bytes are not those that were written.
        UsageError: the settings are not its.
    """
    import faiss

    index = faiss.read_index(str(artifact.file(FILE)))
    if settings:
        parameters: Any = faiss.ParameterSpace()
        try:
            parameters.set_index_parameters(index, settings)
        except RuntimeError as error:
            raise UsageError(
                f"--ann '{settings}': this index has no such settings",
                where=str(artifact.path),
                hint=f"For example: nprobe=32, or efSearch=128. FAISS says: {_last(error)}",
            ) from error
    return Ann(artifact, index, settings)

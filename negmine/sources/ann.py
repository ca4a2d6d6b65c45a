"""Approximate dense search with a FAISS index: built in blocks, its recall against exact told.

What it finds is scored again from the stored vectors, so scores are those of exact search; only
some documents may be missing. An inverted file is built and searched in pieces, whatever its size
(see :mod:`negmine.sources.ivf`); any other index is held in memory as a whole, or refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from negmine.errors import InvalidDataError, UsageError
from negmine.memory import MIB, Budget, shown
from negmine.sources import ivf as inverted
from negmine.sources.exact import search
from negmine.sources.ivf import LISTS
from negmine.sources.vectors import Vectors
from negmine.table import arrays
from negmine.table.artifacts.reading import Artifact

#: The index's files, within its artifact.
FOLDER = "faiss"
#: Vectors that an index learns from: so many, or so many per inverted list (FAISS wants 39).
_TRAINED_ON, _PER_LIST = 65_536, 40
#: Vectors converted and added at a time, and how many such blocks are there: one is read while
#: another is coded, and coding makes copies. The same under any ceiling (see inverted.write).
_BLOCK_BYTES = 8 * MIB
_BLOCKS = 4
#: What is held of a list beside its centroid: a graph's links to it, where there is a graph.
_CENTROID_LINKS = 512
_QUERIES_AT_ONCE = 1024
#: Queries that are searched exactly, too, to see what is missed.
RECALL_QUERIES = 200
_SEED = 1
INSTEAD = "an inverted file is built and searched in pieces: --ann IVF4096,Flat, for example"


def _empty(factory: str, dimension: int) -> Any:
    import faiss

    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(
            f"--ann: FAISS makes no index '{factory}' for vectors of {dimension} dimensions",
            hint=f"For example: IVF4096,Flat, HNSW32 or IVF1024,PQ48x4fs. It says: {_last(error)}",
        ) from error
    if isinstance(index, faiss.IndexIDMap):
        raise UsageError(
            f"--ann {factory}: documents are numbered already", hint="Leave out IDMap."
        )
    return index


def _last(error: RuntimeError) -> str:
    """FAISS's own words without the place in its source."""
    return str(error).strip().splitlines()[-1][:200]


# --- building ---------------------------------------------------------------------------------


def bytes_per_vector(factory: str, dimension: int) -> int:
    """What an index of this kind holds of a vector: its code, its number, its links.

    Raises:
        UsageError: FAISS knows no such index.
    """
    return _per_vector(_empty(factory, dimension))


def _per_vector(index: Any) -> int:
    import faiss

    inner: Any = index
    if isinstance(index, faiss.IndexPreTransform):
        inner = faiss.downcast_index(index.index)
    if isinstance(inner, faiss.IndexHNSW):
        graph: Any = inner.hnsw
        links = graph.nb_neighbors(0)
        # All are in the lowest layer, and one of so many in each one above, with half the links;
        # each has its place in the list of links and its level.
        above = links // 2 / max(1, links // 2 - 1)
        return int(inner.storage.sa_code_size() + 4 * (links + above) + 12)
    try:
        return int(inner.sa_code_size()) + 8
    except RuntimeError:
        # Other indexes without a code of their own hold the vector.
        return int(4 * inner.d + 8)


def held_to_build(factory: str, dimension: int, count: int, work: int) -> int:
    """Bytes that :func:`build` takes of ``work`` bytes, or needs where that is more.

    Raises:
        UsageError: FAISS knows no such index.
    """
    index = _empty(factory, dimension)
    least = _needed(index, count)
    if inverted.inverted_file(index) is None:
        return least
    return max(least, min(work, least + _per_vector(index) * count))


def _needed(index: Any, count: int) -> int:
    """Bytes without which an index cannot be built."""
    import faiss

    lists = faiss.try_extract_index_ivf(index)
    trained = lists.nlist * (4 * index.d + _CENTROID_LINKS) if lists is not None else 0
    training = 0
    if not index.is_trained:
        sample, row = _sampled(index, count), 4 * index.d
        inner = inverted.inverted_file(index)
        # The sample, the same transformed, and what learning codes takes of the first of them.
        training = sample * row * (2 if isinstance(index, faiss.IndexPreTransform) else 1)
        if not isinstance(inner, faiss.IndexIVFFlat):
            training += 2 * min(sample, _TRAINED_ON) * row
    adding = _BLOCKS * _BLOCK_BYTES
    if inverted.inverted_file(index) is not None:
        adding += inverted.least_memory(index, count)
    else:
        # FAISS makes room for twice as many vectors when there is none left.
        adding += 2 * _per_vector(index) * count
    return int(trained + max(training, adding))


def _sampled(index: Any, count: int) -> int:
    """How many vectors it learns from."""
    import faiss

    lists = faiss.try_extract_index_ivf(index)
    wanted = max(_TRAINED_ON, _PER_LIST * lists.nlist if lists is not None else 0)
    return min(wanted, count)


def refuse_beyond(factory: str, dimension: int, count: int, budget: Budget) -> None:
    """See that an index can be built within the ceiling.

    Raises:
        UsageError: it cannot, or FAISS knows no such index.
    """
    index = _empty(factory, dimension)
    needed = _needed(index, count)
    if needed <= budget.work:
        return
    whole = inverted.inverted_file(index) is None
    least = -(-(sum(budget.fixed.values()) + needed) // MIB)
    raise UsageError(
        f"--ann {factory}: building it takes {shown(needed)} for {count:,} vectors of {dimension} "
        f"dimensions, and the ceiling of {shown(budget.ceiling)} leaves {shown(budget.work)}",
        hint=f"Give at least --memory {least}MB, or "
        + (f"another index: {INSTEAD}." if whole else "fewer lists: each learns from 40 vectors."),
    )


def build(vectors: Vectors, factory: str, folder: Path, budget: Budget) -> int:
    """Train on a sample, add all vectors in order, fill ``folder``; returns how many it holds.

    The files are the same under any ceiling, and what FAISS itself writes of such an index.

    Raises:
        UsageError: FAISS knows no such index, the corpus is too small to train it, or it cannot be
            built within the ceiling.
    """
    import faiss

    _, first = next(vectors.parts())
    refuse_beyond(factory, first.shape[1], len(vectors), budget)
    index = _empty(factory, first.shape[1])
    lists = inverted.inverted_file(index)
    if not index.is_trained:
        rng = np.random.default_rng(_SEED)
        rows = np.sort(rng.choice(len(vectors), _sampled(index, len(vectors)), replace=False))
        try:
            index.train(vectors.take(rows))
        except RuntimeError as error:
            raise UsageError(
                f"--ann {factory}: cannot be trained on {len(rows)} vectors",
                hint=f"Take one with fewer lists or codes. FAISS says: {_last(error)}",
            ) from error
    blocks = (block for _, block in vectors.blocks(_BLOCK_BYTES))
    if lists is not None:
        # Trained now: what is needed is the centroids, the blocks and the least for writing.
        least = inverted.least_memory(index, len(vectors))
        room = least + budget.work - _needed(index, len(vectors))
        return inverted.write(index, blocks, len(vectors), folder, room)
    for block in blocks:
        try:
            index.add(block)
        except RuntimeError as error:
            raise UsageError(
                f"--ann {factory}: FAISS adds no vectors to it block by block",
                hint=f"Take another kind: {INSTEAD}. FAISS says: {_last(error)}",
            ) from error
    faiss.write_index(index, str(folder / inverted.FILE))
    return int(index.ntotal)


# --- searching --------------------------------------------------------------------------------


def held_to_search(artifact: Artifact, settings: str) -> int:
    """Bytes that an index takes however its search is cut: all of it, or what one query reads.

    Raises:
        InvalidDataError: it was made by an earlier negmine, or was changed.
    """
    files = _files(artifact)
    if LISTS not in files:
        # A search through a graph marks what it has seen, in each thread.
        seen = int(artifact.counts["vectors"]) * (os.cpu_count() or 1)
        return int(files[inverted.FILE]["bytes"]) + seen
    places = arrays.mapped(artifact.file(f"{FOLDER}/{LISTS}"))
    named = re.search(r"(?:^|[ ,])nprobe=(\d+)", settings)
    probes = int(named[1]) if named else 1
    return int(files[inverted.TRAINED]["bytes"]) + inverted.query_bytes(places, probes)


def _files(artifact: Artifact) -> Mapping[str, Any]:
    files = artifact.files
    if FOLDER not in files:
        raise InvalidDataError(
            "an approximate index of an earlier negmine",
            where=str(artifact.path),
            hint="Remove that folder and build it again: negmine index ... --ann FACTORY",
        )
    inner: Mapping[str, Any] = files[FOLDER]["files"]
    return inner


@dataclass(frozen=True)
class Ann:
    """An opened index.

    Attributes:
        artifact: where it was read from; its checksum is compared before FAISS parses it.
        index: FAISS's object, or an inverted file that reads its lists as it goes.
        settings: how it searches, as FAISS's ``ParameterSpace`` reads it.
    """

    artifact: Artifact
    index: Any
    settings: str

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(query index, row) of what is found for each query, at most ``k``."""
        if isinstance(self.index, inverted.InvertedFile):
            rows = self.index.search(queries, k)
        else:
            rows = np.empty((len(queries), k), dtype=np.int64)
            for start in range(0, len(queries), _QUERIES_AT_ONCE):
                some = slice(start, start + _QUERIES_AT_ONCE)
                _, rows[some] = self.index.search(queries[some], k)
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
            "factory": self.artifact.params["factory"],
            "search": self.settings,
            "recall": round(float(np.isin(want, query * width + rows).mean()), 4),
            "k": k,
            "queries": len(sample),
        }


def open_index(artifact: Artifact, settings: str, share: int = 256 * MIB) -> Ann:
    """Open an index, its checksum first.

    Args:
        artifact: the index.
        settings: how to search it.
        share: bytes that it may take beyond :func:`held_to_search`.

    Raises:
        InvalidDataError: its bytes are not those that were written.
        UsageError: the settings are not its.
    """
    import faiss

    files = _files(artifact)
    folder = artifact.file(FOLDER)
    opened: Any
    if LISTS in files:
        least = held_to_search(artifact, settings) - int(files[inverted.TRAINED]["bytes"])
        opened = inverted.InvertedFile(folder, least + share * 3 // 4, share // 4)
        index = opened.index
    else:
        opened = index = faiss.read_index(str(folder / inverted.FILE))
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
    return Ann(artifact, opened, settings)

"""Exact dense retrieval: vectors on disk, one file per part of the corpus, searched in a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from negmine.errors import InvalidDataError
from negmine.models.encoders import Encoder, EncoderSettings, load_encoder
from negmine.models.resolve import resolve
from negmine.sources.base import Hits
from negmine.table.artifact import Artifact, Writer
from negmine.table.documents import Documents, full_text
from negmine.table.schema import positions_in_group, rank_order, string_codes

#: Pairs scored at a time: bounds the gathered float64 rows (16k x 768 dims = 100 MB).
_PAIRS_AT_ONCE = 16_384
#: Fetched beyond k, so that the order at the cut is decided by exact scores and docids.
_SLACK = 16
#: A query whose cut stays tied is searched again deeper, up to this depth.
_DEEPEST = 16_384
#: Relative error of a float32 dot product between unit vectors is well below this.
_SEARCH_ERROR = 1e-5


def build(
    documents: Documents, writer: Writer, encoder: Encoder, progress: Callable[[int], None]
) -> None:
    """Encode every part of the corpus into ``part-NNNNN.npy`` (float32, row per document)."""
    for name in documents.names:
        target = name.replace(".parquet", ".npy")
        rows = documents.artifact.rows(name)
        if writer.has(target):
            progress(rows)
            continue
        texts = full_text(documents.artifact.read(name)).to_pylist()
        writer.add_array(target, encoder.encode(texts, "document", progress))


class Vectors:
    """The vectors of a corpus, memory-mapped part by part."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.names = list(artifact.manifest["files"])
        self.offsets = np.concatenate(
            ([0], np.cumsum([artifact.rows(name) for name in self.names]))
        ).astype(np.int64)

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, matrix) in order; the matrix is a memory map."""
        for first, name in zip(self.offsets, self.names, strict=False):
            yield int(first), np.load(self.artifact.file(name), mmap_mode="r", allow_pickle=False)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of row numbers, float32, in the order asked for."""
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        found: np.ndarray | None = None
        for first, part in self.parts():
            if found is None:
                found = np.empty((len(rows), part.shape[1]), dtype=np.float32)
            low, high = np.searchsorted(ordered, [first, first + len(part)])
            found[order[low:high]] = part[ordered[low:high] - first]
        assert found is not None, "an index has at least one document"
        return found


def load_query_encoder(
    vectors: Artifact, name: str, *, query_prompt: str | None, batch_size: int, device: str
) -> Encoder:
    """The encoder that made the vectors ``name`` of an index, for queries.

    Raises:
        InvalidDataError: the model is not the one that encoded the corpus.
    """
    made_with = vectors.manifest["params"]
    model = vectors.manifest["models"][name]
    reference = resolve(model["model"])
    if reference.revision != model["revision"]:
        raise InvalidDataError(
            f"the model {model['model']} is not the one that encoded the corpus "
            f"({reference.revision} instead of {model['revision']})",
            where=str(vectors.path),
            hint="Bring back that model, or index again with --force.",
        )
    return load_encoder(
        reference,
        EncoderSettings(
            query_prompt=query_prompt,
            pooling=made_with["pooling"],
            normalize=made_with["normalize"],
            max_length=made_with["max_length"],
            batch_size=batch_size,
            device=device,
            dtype=made_with["dtype"],
        ),
    )


def search(vectors: Vectors, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Top-k rows by inner product, exactly, holding one part at a time.

    Args:
        vectors: the corpus.
        queries: float32 [n, dim].
        k: rows wanted per query; at most the corpus size is returned.

    Returns:
        (scores float32 [n, k], rows int64 [n, k]), best first; ties in no particular order.
    """
    import faiss

    k = min(k, len(vectors))
    best_scores = np.full((len(queries), 0), -np.inf, dtype=np.float32)
    best_rows = np.full((len(queries), 0), -1, dtype=np.int64)
    for first, part in vectors.parts():
        block = np.ascontiguousarray(part, dtype=np.float32)
        scores, rows = faiss.knn(
            queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        best_scores = np.concatenate([best_scores, scores], axis=1)
        best_rows = np.concatenate([best_rows, rows + first], axis=1)
        if best_scores.shape[1] > k:
            keep = np.argpartition(-best_scores, k - 1, axis=1)[:, :k]
            best_scores = np.take_along_axis(best_scores, keep, axis=1)
            best_rows = np.take_along_axis(best_rows, keep, axis=1)
    order = np.argsort(-best_scores, axis=1, kind="stable")
    return (
        np.take_along_axis(best_scores, order, axis=1),
        np.take_along_axis(best_rows, order, axis=1),
    )


def score_pairs(
    vectors: Vectors, queries: np.ndarray, query: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Inner product of each (query index, row) pair.

    Summed in float64 and rounded once, so a pair's score does not depend on which other pairs,
    blocks or threads it was computed with.
    """
    result = np.empty(len(rows), dtype=np.float32)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    for first, part in vectors.parts():
        low, high = np.searchsorted(ordered, [first, first + len(part)])
        for start in range(low, high, _PAIRS_AT_ONCE):
            chosen = order[start : min(start + _PAIRS_AT_ONCE, high)]
            left = queries[query[chosen]].astype(np.float64)
            right = np.asarray(part[rows[chosen] - first], dtype=np.float64)
            result[chosen] = np.einsum("ij,ij->i", left, right)
    return result


class DenseSource:
    """Candidates by inner product with one encoder's vectors."""

    def __init__(self, documents: Documents, vectors: Vectors, load: Callable[[], Encoder]) -> None:
        if len(vectors) != len(documents):
            raise InvalidDataError(
                f"{len(vectors)} vectors for {len(documents)} documents",
                where=str(vectors.artifact.path),
                hint="Make the index again.",
            )
        self._documents = documents
        self._vectors = vectors
        self._load = load
        self._encoder: Encoder | None = None
        self._encoded: tuple[Sequence[str], np.ndarray] | None = None

    def _encode(self, queries: Sequence[str]) -> np.ndarray:
        # search() and score() are asked about the same list one after the other.
        if self._encoded is None or self._encoded[0] is not queries:
            if self._encoder is None:
                self._encoder = self._load()
            self._encoded = (queries, self._encoder.encode(queries, "query"))
        return self._encoded[1]

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query, by (-score, docid)."""
        encoded = self._encode(queries)
        k = min(k, len(self._vectors))
        pending = np.arange(len(queries))
        depth = k + _SLACK
        query_parts, row_parts, score_parts = [], [], []
        while len(pending):
            depth = min(depth, len(self._vectors))
            found, rows = search(self._vectors, encoded[pending], depth)
            query = np.repeat(pending, depth)
            exact = score_pairs(self._vectors, encoded, query, rows.ravel())
            cut = -np.sort(-exact.reshape(len(pending), depth), axis=1)[:, k - 1]
            # A document that was not fetched scores at most the last fetched one's.
            open_ = cut <= found[:, -1] + _SEARCH_ERROR
            if depth >= min(len(self._vectors), _DEEPEST):
                open_[:] = False
            keep = np.repeat(~open_, depth)
            query_parts.append(query[keep])
            row_parts.append(rows.ravel()[keep])
            score_parts.append(exact[keep])
            pending = pending[open_]
            depth *= 4
        query = np.concatenate(query_parts) if query_parts else np.empty(0, dtype=np.int64)
        rows = np.concatenate(row_parts) if row_parts else np.empty(0, dtype=np.int64)
        score = np.concatenate(score_parts) if score_parts else np.empty(0, dtype=np.float32)
        docids = self._documents.ids(rows)
        order = rank_order(query, score, string_codes(docids)[0])
        order = order[positions_in_group(query[order]) <= k]
        return Hits(
            query=query[order].astype(np.int32),
            docid=docids.take(pa.array(order)),
            score=score[order],
        )

    def score(self, queries: Sequence[str], query: np.ndarray, docids: pa.Array) -> np.ndarray:
        """Score of each (query index, docid) pair; NaN where the corpus has no such document."""
        rows = self._documents.rows(docids)
        known = rows >= 0
        result = np.full(len(rows), np.nan, dtype=np.float32)
        result[known] = score_pairs(self._vectors, self._encode(queries), query[known], rows[known])
        return result

    def close(self) -> None:
        """Let go of the model."""
        self._encoder = self._encoded = None

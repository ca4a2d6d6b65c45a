"""Exact dense retrieval: vectors on disk, one file per part of the corpus, searched in a stream.

The corpus is read once for each group of queries. A block of vectors is multiplied with a block of
queries in float32, and what exceeds a query's k-th best so far is kept; the kept are then scored
again in float64, and that score alone decides the order and the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from negmine.errors import InvalidDataError, UsageError
from negmine.memory import MIB
from negmine.models.devices import gpus
from negmine.models.encoders import Encoder, EncoderSettings, load_encoder
from negmine.models.resolve import resolve
from negmine.models.several import in_turn
from negmine.sources import torch_search
from negmine.sources.base import Hits
from negmine.table.artifact import Artifact, Writer
from negmine.table.documents import Documents, full_text
from negmine.table.schema import positions_in_group, rank_order, string_codes

#: Fetched beyond k, so that the cut is decided by exact scores and docids.
_SLACK = 16
#: Relative error of a float32 inner product, in the two vectors' lengths, is well below this.
_SEARCH_ERROR = 1e-5
#: Vectors multiplied at a time with a block of queries: their scores stay in the cache.
_BLOCK_ROWS = 1024
_BLOCK_QUERIES = 1024
#: Bytes of the gathered pairs that a thread multiplies in float64: they stay in its cache.
_PAIR_BYTES = 2 * MIB
#: Bytes of what is computed at a time where one thread does it.
_ALONE_BYTES = 32 * MIB
#: How float16 is tried: queries, neighbours of each, the share that must stay, and how far below
#: the cut, relative to the vectors' lengths, what takes the place of a neighbour may score.
_SAMPLED, _SAMPLE_K, _SAME_NEIGHBOURS, _NEAR_TIE = 256, 100, 0.999, 1e-3
#: Bytes of a dense search where nobody says how many.
_MEMORY = 512 * MIB


Stored = Literal["auto", "float16", "float32"]


def build(
    documents: Documents,
    writer: Writer,
    encoders: Sequence[Encoder],
    progress: Callable[[int], None],
    stored: Stored = "auto",
    part: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Encode every part of the corpus into ``part-NNNNN.npy``, a row per document.

    Args:
        documents: the corpus.
        writer: where the parts go; those that an interrupted run finished are kept.
        encoders: the model, once for each device; each encodes the next part that no other has
            begun, so that a part's vectors do not depend on how many there are.
        progress: told how many more documents are done; with several encoders by several threads.
        stored: number format; auto takes float16 where :func:`rounding` finds no loss in the
            first part.
        part: told the number of each part and how many there are.

    Returns:
        The format, and what was found of the loss.
    """
    facts: dict[str, Any] = {} if stored == "auto" else {"dtype": stored, "reason": "asked for"}
    targets = {name: name.replace(".parquet", ".npy") for name in documents.names}
    there = {name for name, target in targets.items() if writer.has(target)}
    left = [name for name in targets if name not in there]

    def encoded(encoder: Encoder, name: str) -> np.ndarray:
        texts = full_text(documents.artifact.read(name)).to_pylist()
        return encoder.encode(texts, "document", progress)

    with in_turn(encoders, left, encoded) as made:
        for number, (name, target) in enumerate(targets.items(), 1):
            if part is not None:
                part(number, len(targets))
            if name in there:
                progress(documents.artifact.rows(name))
                facts = facts or writer.stats(target)
                continue
            vectors = next(made)
            facts = facts or rounding(vectors)
            if facts["dtype"] == "float16":
                _refuse_overflow(vectors, name)
            # Told with the first part: a run that was cut short goes on in its format.
            told = facts if name == documents.names[0] else None
            writer.add_array(target, vectors.astype(facts["dtype"]), told)
    return facts


def rounding(vectors: np.ndarray) -> dict[str, Any]:
    """Whether float16 would lose neighbours: top-k of a sample, vectors rounded and not.

    Some of the vectors are the queries, all are the corpus. float16 is chosen where at least
    99.9% of the neighbours are the same, and those that are not score, before rounding, within
    a thousandth of the k-th best (of the product of the lengths): near-ties at the cut.

    Args:
        vectors: float32 [n, dim].

    Returns:
        ``dtype``, ``reason`` and the numbers.
    """
    if np.abs(vectors).max(initial=0) > np.finfo(np.float16).max:
        return {"dtype": "float32", "reason": "values beyond float16"}
    rounded = vectors.astype(np.float16).astype(np.float32)
    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), _SAMPLED)).astype(np.int64)
    k = min(_SAMPLE_K, max(1, len(vectors) // 2))
    exact = vectors[chosen] @ vectors.T
    near = vectors[chosen] @ rounded.T
    cut = -np.partition(-exact, k - 1, axis=1)[:, k - 1 : k]
    found = np.argpartition(-near, k - 1, axis=1)[:, :k]
    # What was found instead of a neighbour scores below the k-th best; a tie with it is none lost.
    lost = (cut - np.take_along_axis(exact, found, axis=1)).clip(min=0)
    lengths = np.linalg.norm(vectors, axis=1)
    worst = float((lost / np.maximum(lengths[chosen, None] * lengths.max(), 1e-30)).max())
    same = float((lost == 0).mean())
    fits = same >= _SAME_NEIGHBOURS and worst <= _NEAR_TIE
    return {
        "dtype": "float16" if fits else "float32",
        "reason": "no loss in a sample" if fits else "float16 would lose neighbours",
        "sampled_queries": len(chosen),
        "sampled_documents": len(vectors),
        "k": k,
        "same_neighbours": round(same, 6),
        "largest_loss": round(worst, 8),
    }


def _refuse_overflow(vectors: np.ndarray, name: str) -> None:
    if np.abs(vectors).max(initial=0) > np.finfo(np.float16).max:
        raise InvalidDataError(
            "a vector holds values beyond float16",
            where=name,
            hint="Index again with --vectors float32.",
        )


class Vectors:
    """The vectors of a corpus, read part by part; rows are numbered through the parts."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.names = list(artifact.manifest["files"])
        self.offsets = np.concatenate(
            ([0], np.cumsum([artifact.rows(name) for name in self.names]))
        ).astype(np.int64)
        self._longest: float | None = None

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, matrix as stored) in order; the matrix is a memory map."""
        for first, name in zip(self.offsets, self.names, strict=False):
            yield int(first), self._part(name)

    def _part(self, name: str) -> np.ndarray:
        matrix: np.ndarray = np.load(self.artifact.file(name), mmap_mode="r", allow_pickle=False)
        return matrix

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, float32 matrix of about ``size`` bytes at most) in order.

        The next block is read, checked and converted while the caller works on one.
        """

        def read(first: int, name: str, start: int, rows: int) -> tuple[int, np.ndarray]:
            return first + start, float32(self._part(name)[start : start + rows])

        def asked() -> Iterator[tuple[int, str, int, int]]:
            for first, name in zip(self.offsets, self.names, strict=False):
                shape = self._part(name).shape
                rows = max(_BLOCK_ROWS, size // max(1, 4 * shape[1]) // _BLOCK_ROWS * _BLOCK_ROWS)
                for start in range(0, shape[0], rows):
                    yield int(first), name, start, rows

        with ThreadPoolExecutor(1, thread_name_prefix="vectors") as pool:
            ahead = None
            for block in asked():
                following = pool.submit(read, *block)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()

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

    @property
    def longest(self) -> float:
        """Length of the longest vector."""
        if self._longest is None:
            if self.artifact.manifest["params"].get("normalize"):
                self._longest = 1.0
            else:
                blocks = self.blocks(_ALONE_BYTES)
                squares = (np.einsum("ij,ij->i", block, block).max() for _, block in blocks)
                self._longest = float(np.sqrt(max(squares)))
        return self._longest


def refuse_untrusted(vectors: Artifact, name: str, trusted: bool) -> None:
    """Nobody's code runs because an index says so.

    Raises:
        UsageError: the vectors ``name`` were made by a model whose own code was trusted, which is
            not so now.
    """
    if vectors.manifest["params"].get("trust_remote_code") and not trusted:
        raise UsageError(
            f"the vectors '{name}' were made with --trust-remote-code",
            where=vectors.manifest["models"][name]["model"],
            hint="Give it here, too, if you trust the code that this model brings.",
        )


def load_query_encoder(
    vectors: Artifact,
    name: str,
    *,
    query_prompt: str | None,
    batch_size: int,
    device: str,
    trusted: bool = False,
) -> Encoder:
    """The encoder that made the vectors ``name`` of an index, for queries.

    Raises:
        InvalidDataError: the model is not the one that encoded the corpus.
        UsageError: it runs code of its own, which is not ``trusted``.
    """
    refuse_untrusted(vectors, name, trusted)
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
            # Indexes from before there was a choice were made by PyTorch.
            runtime=made_with.get("runtime", "torch"),
            trust_remote_code=trusted and made_with.get("trust_remote_code", False),
        ),
    )


def float32(part: np.ndarray) -> np.ndarray:
    """Rows of stored vectors in float32, C-contiguous."""
    if part.dtype != np.float16 or part.shape[1] == 0:
        return np.ascontiguousarray(part, dtype=np.float32)
    import faiss

    # The same values as NumPy's conversion, several times as fast.
    coder = faiss.IndexScalarQuantizer(part.shape[1], faiss.ScalarQuantizer.QT_fp16)
    return coder.sa_decode(np.ascontiguousarray(part).view(np.uint8))


@dataclass
class _Best:
    """The best rows of every query so far: a reservoir of the size ``2 * depth`` each.

    Attributes:
        depth: rows wanted.
        score: float32 [queries, room], -inf where there is none.
        row: row numbers, int32 or int64 [queries, room].
        count: rows in use of each reservoir.
        limit: what does not exceed this is not among the best ``depth``.
    """

    depth: int
    score: np.ndarray
    row: np.ndarray
    count: np.ndarray
    limit: np.ndarray

    @staticmethod
    def room(depth: int) -> int:
        """Places of a reservoir."""
        return max(2 * depth, 128)

    @classmethod
    def empty(cls, queries: int, depth: int, rows: int) -> _Best:
        """Nothing found yet, in a corpus of so many rows."""
        room = cls.room(depth)
        kind = np.int32 if rows <= np.iinfo(np.int32).max else np.int64
        return cls(
            depth,
            np.full((queries, room), -np.inf, dtype=np.float32),
            np.zeros((queries, room), dtype=kind),
            np.zeros(queries, dtype=np.int64),
            np.full(queries, -np.inf, dtype=np.float32),
        )

    def add(self, low: int, scores: np.ndarray, above: np.ndarray, first: int) -> None:
        """Take what exceeds the limits.

        Args:
            low: the first query of this block.
            scores: float32 [block of queries, block of rows].
            above: a buffer for booleans, of that shape.
            first: the row of the first column.
        """
        high = low + len(scores)
        np.greater(scores, self.limit[low:high, None], out=above)
        hit = np.flatnonzero(above)
        if len(hit) == 0:
            return
        query, column = np.divmod(hit, scores.shape[1])
        more = np.bincount(query, minlength=len(scores))
        full = self.count[low:high] + more > self.score.shape[1]
        if full.any():
            self._shrink(low, np.flatnonzero(full), scores, first)
            stays = ~full[query]
            hit, query, column = hit[stays], query[stays], column[stays]
            more[full] = 0
        place = np.arange(len(query)) - np.repeat(np.cumsum(more) - more, more)
        place += self.count[low + query]
        self.score[low + query, place] = scores.ravel()[hit]
        self.row[low + query, place] = column + first
        self.count[low:high] += more

    def _shrink(self, low: int, full: np.ndarray, scores: np.ndarray, first: int) -> None:
        """Keep the best ``depth`` of the reservoirs that would overflow and of their scores."""
        at = low + full
        width = self.score.shape[1]
        every = np.concatenate([self.score[at], scores[full]], axis=1)
        keep = np.argpartition(every, every.shape[1] - self.depth, axis=1)[:, -self.depth :]
        kept = np.take_along_axis(every, keep, axis=1)
        rows = np.take_along_axis(self.row[at], np.minimum(keep, width - 1), axis=1)
        rows = np.where(keep < width, rows, keep - width + first)
        self.score[at] = -np.inf
        self.score[at, : self.depth] = kept
        self.row[at, : self.depth] = rows
        # More than the room, so more than depth, were seen: no kept place is empty.
        self.count[at] = self.depth
        self.limit[at] = kept.min(axis=1)

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32, rows int64) [queries, depth], best first."""
        scores = np.empty((len(self.score), self.depth), dtype=np.float32)
        rows = np.empty((len(self.score), self.depth), dtype=np.int64)
        for low in range(0, len(self.score), _BLOCK_QUERIES):
            some = slice(low, low + _BLOCK_QUERIES)
            order = np.argsort(-self.score[some], axis=1, kind="stable")[:, : self.depth]
            scores[some] = np.take_along_axis(self.score[some], order, axis=1)
            rows[some] = np.take_along_axis(self.row[some], order, axis=1)
        return scores, rows


def search(
    vectors: Vectors, queries: np.ndarray, k: int, *, memory: int = _MEMORY
) -> tuple[np.ndarray, np.ndarray]:
    """Top-k rows by inner product in float32, in one pass over the corpus per group of queries.

    Args:
        vectors: the corpus.
        queries: float32 [n, dim].
        k: rows wanted per query; at most the corpus size is returned.
        memory: bytes for what is held beside the queries and the answer.

    Returns:
        (scores float32 [n, k], rows int64 [n, k]), best first; ties in no particular order.
    """
    k = min(k, len(vectors))
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = np.empty((len(queries), k), dtype=np.int64)
    # Half for the reservoirs; two blocks of vectors are there at a time, one being read.
    at_once = max(64, memory // 2 // (8 * _Best.room(k)))
    for start in range(0, len(queries), at_once):
        some = slice(start, start + at_once)
        best = _Best.empty(len(queries[some]), k, len(vectors))
        _fill(best, vectors, queries[some], memory // 8)
        scores[some], rows[some] = best.sorted()
    return scores, rows


def _fill(best: _Best, vectors: Vectors, queries: np.ndarray, size: int) -> None:
    """One pass over the corpus; blocks of queries are spread over the threads."""
    with _threads() as threads:
        height = min(_BLOCK_QUERIES, max(64, -(-len(queries) // threads)))

        def work(low: int, first: int, block: np.ndarray) -> None:
            some = queries[low : low + height]
            scores = np.empty(len(some) * _BLOCK_ROWS, dtype=np.float32)
            above = np.empty(len(some) * _BLOCK_ROWS, dtype=bool)
            for start in range(0, len(block), _BLOCK_ROWS):
                rows = block[start : start + _BLOCK_ROWS]
                shape = (len(some), len(rows))
                product = scores[: shape[0] * shape[1]].reshape(shape)
                np.matmul(some, rows.T, out=product)
                best.add(low, product, above[: product.size].reshape(shape), first + start)

        with ThreadPoolExecutor(threads, thread_name_prefix="search") as pool:
            for first, block in vectors.blocks(size):
                tasks = [
                    pool.submit(work, low, first, block) for low in range(0, len(queries), height)
                ]
                for task in tasks:
                    task.result()


@contextmanager
def _threads() -> Iterator[int]:
    """How many threads NumPy's products would take; inside, each product takes one."""
    from threadpoolctl import threadpool_info, threadpool_limits

    threads = max(
        (pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"),
        default=1,
    )
    with threadpool_limits(limits=1, user_api="blas"):
        yield threads


def products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Inner product of each pair of rows, float32 [n].

    Summed in float64 and rounded once, so a pair's score does not depend on which other pairs,
    blocks or threads it was computed with.
    """
    result = np.empty(len(left), dtype=np.float32)
    result[:] = np.einsum("ij,ij->i", left.astype(np.float64), right.astype(np.float64))
    return result


def score_pairs(
    vectors: Vectors, queries: np.ndarray, query: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Inner product of each (query index, row) pair, float32 [n]; see :func:`products`."""
    result = np.empty(len(rows), dtype=np.float32)
    at_once = max(1, _PAIR_BYTES // (24 * max(1, queries.shape[1])))
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]

    def work(first: int, part: np.ndarray, low: int, high: int) -> None:
        for start in range(low, high, at_once):
            chosen = order[start : min(start + at_once, high)]
            result[chosen] = products(queries[query[chosen]], float32(part[rows[chosen] - first]))

    with _threads() as threads, ThreadPoolExecutor(threads, initializer=_decode_alone) as pool:
        for first, part in vectors.parts():
            low, high = np.searchsorted(ordered, [first, first + len(part)])
            share = max(at_once, -(-(high - low) // threads))
            tasks = [
                pool.submit(work, first, part, start, min(start + share, high))
                for start in range(low, high, share)
            ]
            # A part that is done is let go before the next: what was read of it counts as memory.
            for task in tasks:
                task.result()
    return result


def _decode_alone() -> None:
    """Let FAISS decode in the calling thread: for so few rows its own threads cost more."""
    import faiss

    faiss.omp_set_num_threads(1)


class Approximate(Protocol):
    """An index that may miss some of the best."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(query index, row) of what is found for each query, at most ``k``."""

    def recall(self, vectors: Vectors, queries: np.ndarray, k: int, memory: int) -> dict[str, Any]:
        """What share of the exact best ``k`` is found, and how it was measured."""


#: Query numbers, rows and scores of pairs.
_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def _joined(parts: Sequence[_Pairs]) -> _Pairs:
    query, rows, score = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return query, rows, score


class DenseSource:
    """Candidates by inner product with one encoder's vectors.

    Attributes:
        recall: of an approximate index, what was measured with the first queries searched.

    Args:
        documents: the corpus.
        vectors: its vectors.
        load: loads the encoder of queries.
        memory: bytes for a search, beside the queries' vectors and the answer.
        ann: an approximate index of the vectors, instead of the exact search.
        device: where models run; the search goes where the encoder does.
        together: queries encoded together: what else is in a model's batch shows in the last
            digits of a vector, so this must not depend on how many are searched together.
    """

    def __init__(
        self,
        documents: Documents,
        vectors: Vectors,
        load: Callable[[], Encoder],
        *,
        memory: int = _MEMORY,
        ann: Approximate | None = None,
        device: str = "auto",
        together: int = 4096,
    ) -> None:
        if len(vectors) != len(documents):
            raise InvalidDataError(
                f"{len(vectors)} vectors for {len(documents)} documents",
                where=str(vectors.artifact.path),
                hint="Make the index again.",
            )
        self._documents = documents
        self._vectors = vectors
        self._load = load
        self._memory = memory
        self._ann = ann
        self.recall: dict[str, Any] | None = None
        self._device = device
        self._together = together
        self._encoder: Encoder | None = None
        self._encoded: tuple[Sequence[str], np.ndarray] | None = None

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._load()
        return self._encoder

    def _encode(self, queries: Sequence[str]) -> np.ndarray:
        # search() and score() are asked about the same list one after the other.
        if self._encoded is None or self._encoded[0] is not queries:
            encoder = self._loaded()
            pieces = [
                encoder.encode(queries[start : start + self._together], "query")
                for start in range(0, max(1, len(queries)), self._together)
            ]
            self._encoded = (queries, np.concatenate(pieces))
        return self._encoded[1]

    def tokens(self, queries: Sequence[str]) -> int:
        """Tokens that the encoder reads for these queries."""
        return int(self._loaded().lengths(queries, "query").sum())

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best documents of each query, by (-score, docid)."""
        return self.search_rows(queries, np.arange(len(queries)), k)

    def search_rows(self, queries: Sequence[str], rows: np.ndarray, k: int) -> Hits:
        """The same for some of the queries; they are encoded with all the others.

        Args:
            queries: all queries.
            rows: the numbers of those that are searched for, ascending.
            k: documents wanted of each.
        """
        encoded = self._encode(queries)
        k = min(k, len(self._vectors))
        depth = min(k + _SLACK, len(self._vectors))
        # The reservoirs' places, and a pair's query, row, score and place in several orders.
        at_once = max(64, self._memory // (8 * _Best.room(depth) + 80 * depth))
        found = [
            self._search(encoded, rows[start : start + at_once], k, depth)
            for start in range(0, len(rows), at_once)
        ]
        if not found:
            return Hits(
                np.empty(0, dtype=np.int32),
                pa.array([], pa.string()),
                np.empty(0, dtype=np.float32),
            )
        query, places, score = _joined(found)
        return Hits(query.astype(np.int32), self._documents.ids(places), score)

    def _search(self, encoded: np.ndarray, chosen: np.ndarray, k: int, depth: int) -> _Pairs:
        """(query, row, score) of the best k of some queries, in order."""
        mine = encoded[chosen]
        if self._ann is not None:
            if self.recall is None:
                self.recall = self._ann.recall(self._vectors, mine, k, self._memory)
            query, rows = self._ann.search(mine, depth)
            exact = score_pairs(self._vectors, mine, query, rows)
            query, rows, exact = self._ranked(query, rows, exact, k)
            return chosen[query], rows, exact
        assert self._encoder is not None, "the queries are encoded"
        on = gpus(self._device, self._encoder.placement.device)
        if on:
            found, rows = torch_search.search(self._vectors.parts(), mine, depth, on)
        else:
            found, rows = search(self._vectors, mine, depth, memory=self._memory)
        query = np.repeat(np.arange(len(chosen)), depth)
        rows = rows.ravel()
        exact = score_pairs(self._vectors, mine, query, rows)
        floor = -np.partition(-exact.reshape(len(chosen), depth), k - 1, axis=1)[:, k - 1]
        error = _SEARCH_ERROR * self._vectors.longest * np.linalg.norm(mine, axis=1)
        # A document that was not fetched scores at most the last fetched one's.
        tied = (floor <= found[:, -1] + error) & (depth < len(self._vectors))
        settled = ~tied[query]
        pairs = [(query[settled], rows[settled], exact[settled])]
        # One more pass takes all that may reach the cut of the queries that are still open.
        open_ = np.flatnonzero(tied)
        for start in range(0, len(open_), _BLOCK_QUERIES):
            some = open_[start : start + _BLOCK_QUERIES]
            number, more, score = self._reaching(mine[some], floor[some], error[some], k)
            pairs.append((some[number], more, score))
        query, rows, exact = self._ranked(*_joined(pairs), k)
        return chosen[query], rows, exact

    def _reaching(
        self, queries: np.ndarray, floor: np.ndarray, error: np.ndarray, k: int
    ) -> _Pairs:
        """(query, row, score) of the best k of queries whose k-th best scores ``floor`` or more."""
        kept: _Pairs = (
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.int64),
            np.empty(0, dtype=np.float32),
        )
        most = 2 * k * len(queries) + self._memory // 200
        size = max(1, _ALONE_BYTES // (24 * max(1, queries.shape[1])))
        for first, block in self._vectors.blocks(self._memory // 8):
            for start in range(0, len(block), _BLOCK_ROWS):
                rows = block[start : start + _BLOCK_ROWS]
                near = queries @ rows.T >= (floor - error)[:, None]
                query, row = np.nonzero(near)
                for low in range(0, len(query), size):
                    some = slice(low, low + size)
                    exact = products(queries[query[some]], rows[row[some]])
                    reach = exact >= floor[query[some]]
                    new = (query[some][reach], row[some][reach] + first + start, exact[reach])
                    kept = _joined([kept, new])
                if len(kept[0]) > most:
                    kept = self._ranked(*kept, k)
        return kept

    def _ranked(self, query: np.ndarray, rows: np.ndarray, score: np.ndarray, k: int) -> _Pairs:
        """The best k of each query by (-score, docid), in order; only ties ask for docids."""
        order = np.lexsort((-score, query))
        query, rows, score = query[order], rows[order], score[order]
        same = (query[1:] == query[:-1]) & (score[1:] == score[:-1])
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        code = np.zeros(len(query), dtype=np.int64)
        code[tied] = string_codes(self._documents.ids(rows[tied]))[0]
        order = rank_order(query, score, code) if len(tied) else np.arange(len(query))
        order = order[positions_in_group(query[order]) <= k]
        return query[order], rows[order], score[order]

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

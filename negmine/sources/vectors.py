"""Stored vectors: rounding them without loss, reading them, products with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from negmine.errors import InvalidDataError, UsageError
from negmine.memory import MIB
from negmine.table import arrays
from negmine.table.artifacts.reading import Artifact

#: Vectors multiplied at a time with a block of queries: their scores stay in the cache.
BLOCK_ROWS = 1024
#: Bytes of the gathered pairs that a thread multiplies in float64: they stay in its cache.
_PAIR_BYTES = 2 * MIB
#: Rows of a part of vectors in a nameless file.
SPILLED_ROWS = 16_384
#: Bytes of what is computed at a time where one thread does it.
ALONE_BYTES = 32 * MIB
#: How float16 is tried: queries, neighbours of each, the share that must stay, and how far below
#: the cut, relative to the vectors' lengths, what takes the place of a neighbour may score.
_SAMPLED, _SAMPLE_K, _SAME_NEIGHBOURS, _NEAR_TIE = 256, 100, 0.999, 1e-3


Stored = Literal["auto", "float16", "float32"]


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


def refuse_overflow(vectors: np.ndarray, name: str) -> None:
    """Refuse vectors that float16 cannot hold.

    Raises:
        InvalidDataError: a value is beyond float16.
    """
    if np.abs(vectors).max(initial=0) > np.finfo(np.float16).max:
        raise InvalidDataError(
            "a vector holds values beyond float16",
            where=name,
            hint="Index again with --vectors float32.",
        )


class Rows:
    """Vectors in parts, read part by part; rows are numbered through the parts.

    Args:
        sizes: rows of each part.
        unit: whether every vector has the length 1.
    """

    def __init__(self, sizes: Sequence[int], unit: bool = False) -> None:
        self.offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self._longest = 1.0 if unit else None

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def part(self, number: int) -> np.ndarray:
        """A part's matrix as stored, a memory map."""
        raise NotImplementedError

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, matrix as stored) in order; the matrix is a memory map."""
        for number, first in enumerate(self.offsets[:-1]):
            yield int(first), self.part(number)

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, float32 matrix of about ``size`` bytes at most) in order.

        The next block is read, checked and converted while the caller works on one.
        """

        def read(first: int, number: int, start: int, rows: int) -> tuple[int, np.ndarray]:
            return first + start, float32(self.part(number)[start : start + rows])

        def asked() -> Iterator[tuple[int, int, int, int]]:
            for number, first in enumerate(self.offsets[:-1]):
                shape = self.part(number).shape
                rows = max(BLOCK_ROWS, size // max(1, 4 * shape[1]) // BLOCK_ROWS * BLOCK_ROWS)
                for start in range(0, shape[0], rows):
                    yield int(first), number, start, rows

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
        """The vectors of row numbers, float32, in the order asked for.

        Raises:
            UsageError: a row is of a document beside the corpus, which has no vector.
        """
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        if len(rows) and ordered[-1] >= len(self):
            raise UsageError(
                "what was asked for compares stored vectors, and written documents have none",
                hint="Leave that option out, or retrieve without the source of written documents.",
            )
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
            blocks = self.blocks(ALONE_BYTES)
            squares = (np.einsum("ij,ij->i", block, block).max() for _, block in blocks)
            self._longest = float(np.sqrt(max(squares)))
        return self._longest


class Vectors(Rows):
    """The vectors of a corpus, a row for each document."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.names = list(artifact.files)
        sizes = [artifact.rows(name) for name in self.names]
        super().__init__(sizes, unit=bool(artifact.params.get("normalize")))

    def of(self, documents: int) -> Vectors:
        """These vectors, if there is one for each of so many documents.

        Raises:
            InvalidDataError: there is not.
        """
        if len(self) != documents:
            raise InvalidDataError(
                f"{len(self)} vectors for {documents} documents",
                where=str(self.artifact.path),
                hint="Make the index again.",
            )
        return self

    def part(self, number: int) -> np.ndarray:
        """A part's matrix as stored, a memory map."""
        with self.artifact.held(self.names[number]) as path:
            return arrays.mapped(path)


class Spilled(Rows):
    """Vectors in a nameless file, which goes with the process.

    Args:
        blocks: float32 [rows, dim] each.
        dimension: the vectors'.
        folder: on whose disk the file lies; by default where the system has temporary files.
    """

    def __init__(
        self, blocks: Iterable[np.ndarray], dimension: int, folder: Path | None = None
    ) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by close)
        self.dimension = dimension
        rows = 0
        for block in blocks:
            self._file.write(np.ascontiguousarray(block, dtype=np.float32).data)
            rows += len(block)
        self._file.flush()
        super().__init__([min(SPILLED_ROWS, rows - at) for at in range(0, rows, SPILLED_ROWS)])

    def part(self, number: int) -> np.ndarray:
        """A part's matrix, a memory map."""
        first, end = self.offsets[number : number + 2].tolist()
        row = 4 * self.dimension
        shape = (end - first, self.dimension)
        return np.memmap(self._file, np.float32, "r", first * row, shape)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def float32(part: np.ndarray) -> np.ndarray:
    """Rows of stored vectors in float32, C-contiguous."""
    if part.dtype != np.float16 or part.shape[1] == 0:
        return np.ascontiguousarray(part, dtype=np.float32)
    import faiss

    # The same values as NumPy's conversion, several times as fast.
    coder = faiss.IndexScalarQuantizer(part.shape[1], faiss.ScalarQuantizer.QT_fp16)
    return coder.sa_decode(np.ascontiguousarray(part).view(np.uint8))


@contextmanager
def processor_threads() -> Iterator[int]:
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
    vectors: Rows, queries: np.ndarray, query: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Inner product of each (query index, row) pair, float32 [n]; see :func:`products`.

    NaN for rows beyond the vectors: documents beside the corpus have none.
    """
    result = np.full(len(rows), np.nan, dtype=np.float32)
    at_once = max(1, _PAIR_BYTES // (24 * max(1, queries.shape[1])))
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]

    def work(first: int, part: np.ndarray, low: int, high: int) -> None:
        for start in range(low, high, at_once):
            chosen = order[start : min(start + at_once, high)]
            result[chosen] = products(queries[query[chosen]], float32(part[rows[chosen] - first]))

    with (
        processor_threads() as threads,
        ThreadPoolExecutor(threads, initializer=_decode_alone) as pool,
    ):
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


def pair_cosines(
    artifact: Artifact, row: np.ndarray, left: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Cosine of each pair, float64 [pairs].

    Args:
        artifact: stored vectors of length 1.
        row: each row's document.
        left: rows.
        right: rows of few distinct documents, which are held in memory.
    """
    if len(right) == 0:
        return np.empty(0)
    vectors = Vectors(artifact)
    distinct_rows, inverse = np.unique(row[right], return_inverse=True)
    return score_pairs(vectors, vectors.take(distinct_rows), inverse, row[left]).astype(np.float64)

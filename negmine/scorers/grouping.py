"""Which documents of a query go in a call together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np


def grouped(
    queries: Sequence[str], documents: Sequence[str], pairs: np.ndarray, most: int
) -> Iterator[list[int]]:
    """Rows of pairs, of each query at most so many at a time, in an order by chance.

    The table has positives in their places by rank: the order must not tell them.

    Args:
        queries: texts.
        documents: texts.
        pairs: (query index, document index), int [n, 2].
        most: documents in a call.
    """
    rows_of: dict[int, list[int]] = {}
    for row, q in enumerate(pairs[:, 0].tolist()):
        rows_of.setdefault(q, []).append(row)
    for q, rows in rows_of.items():
        shuffled = sorted(rows, key=lambda row: _chance(queries[q], documents[pairs[row, 1]]))
        for start in range(0, len(shuffled), most):
            yield shuffled[start : start + most]


def _chance(query: str, document: str) -> bytes:
    """A number by chance, the same for the same texts."""
    return hashlib.blake2b(f"{query}\0{document}".encode(errors="surrogatepass")).digest()

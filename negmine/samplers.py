"""Which survivors are taken: pure functions from survivors to positions, 1 = first choice."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from negmine.table import schema as schemas


def top(
    query: np.ndarray, score: np.ndarray, docid: np.ndarray, survivors: np.ndarray, n: int
) -> np.ndarray:
    """The n best-scoring survivors of each query.

    Args:
        query: query number of each row, ascending.
        score: what to order by; NaN comes last.
        docid: codes that break ties.
        survivors: True for rows that may be taken.
        n: how many per query, at most.

    Returns:
        int32 [rows]: 1..n for the chosen, 0 for the others.
    """
    rows = np.flatnonzero(survivors)
    order = rows[schemas.rank_order(query[rows], score[rows], docid[rows])]
    position = schemas.positions_in_group(query[order])
    chosen = np.zeros(len(query), dtype=np.int32)
    chosen[order] = np.where(position <= n, position, 0)
    return chosen


def random(
    query: np.ndarray,
    score: np.ndarray,
    docid: np.ndarray,
    survivors: np.ndarray,
    n: int,
    draw: np.ndarray,
) -> np.ndarray:
    """n survivors of each query uniformly at random, numbered by score.

    Args:
        query: query number of each row, ascending.
        score: what to number the chosen by.
        docid: codes that break ties.
        survivors: True for rows that may be taken.
        n: how many per query, at most.
        draw: a pseudo-random number per row (:func:`draws`); the smallest are taken.

    Returns:
        int32 [rows]: 1..n for the chosen, 0 for the others.
    """
    lucky = top(query, -draw, docid, survivors, n) > 0
    return top(query, score, docid, lucky, n)


def draws(qids: pa.ChunkedArray, docids: pa.ChunkedArray, seed: int) -> np.ndarray:
    """A uniform number in [0, 1) per (query, document, seed), whatever else is in the table.

    It is a hash, so neither the order of the rows nor the other candidates nor the division
    into parts changes what a pair draws.
    """
    left, distinct_qids = schemas.string_codes(qids)
    right, distinct_docids = schemas.string_codes(docids)
    with np.errstate(over="ignore"):
        mixed = _splitmix(_digests(distinct_qids, seed)[left])
        mixed = _splitmix(mixed ^ _digests(distinct_docids, seed)[right])
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _digests(strings: pa.Array, seed: int) -> np.ndarray:
    """64 bits per distinct string, the same in every process and on every machine."""
    key = seed.to_bytes(16, "little", signed=True)
    joined = b"".join(
        hashlib.blake2b(string.encode(), digest_size=8, key=key).digest()
        for string in strings.to_pylist()
    )
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """Steele, Lea and Flood's SplitMix64 finaliser (OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

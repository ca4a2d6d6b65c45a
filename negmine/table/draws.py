"""Seeded draws by hashing ids: the same whoever asks, in whatever order."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from negmine.table import ranking


def draws(qids: pa.ChunkedArray, docids: pa.ChunkedArray, seed: int) -> np.ndarray:
    """A uniform number in [0, 1) per (query, document, seed), whatever else is in the table.

    It is a hash, so neither the order of the rows nor the other candidates nor the division
    into parts changes what a pair draws.
    """
    left, distinct_qids = ranking.string_codes(qids)
    right, distinct_docids = ranking.string_codes(docids)
    with np.errstate(over="ignore"):
        mixed = splitmix(digests(distinct_qids, seed)[left])
        mixed = splitmix(mixed ^ digests(distinct_docids, seed)[right])
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def digests(strings: pa.Array, seed: int = 0) -> np.ndarray:
    """64 bits per string, the same in every process and on every machine."""
    # A copy of a keyed hash costs half of a new one.
    keyed = hashlib.blake2b(digest_size=8, key=seed.to_bytes(16, "little", signed=True)).copy
    found = []
    for string in strings.cast(pa.large_binary()).to_pylist():
        one = keyed()
        one.update(string)
        found.append(one.digest())
    joined = b"".join(found)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def salted(seed: int, purpose: str) -> int:
    """A seed for one purpose: what is drawn with it is independent of what others draw.

    Without it whoever draws among what was drawn before, by the same ids and seed, goes by the same
    numbers.
    """
    digest = hashlib.blake2b(purpose.encode(), digest_size=7).digest()
    return (int.from_bytes(digest, "little") << 64) + seed


def splitmix(x: np.ndarray) -> np.ndarray:
    """Steele, Lea and Flood's SplitMix64 finaliser (OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def digests_of(strings: pa.ChunkedArray) -> np.ndarray:
    """64 bits per string; equal strings are hashed once."""
    encoded = strings.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return digests(encoded.dictionary)[encoded.indices.to_numpy()]

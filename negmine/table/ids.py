"""Ids for texts that come without one."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc


def content_ids(texts: pa.Array) -> pa.Array:
    """The id of each text: the first 32 hex characters of the SHA-256 of its UTF-8 bytes.

    A promise, not an implementation detail: the same text has the same id in every run, on every
    machine and in every release, so files written years apart still join. The text is hashed as
    it is, neither trimmed nor Unicode-normalised.

    Args:
        texts: strings without nulls.

    Returns:
        A string array of the same length.
    """
    if texts.null_count:
        raise ValueError("a missing text has no content id")
    # The bytes are read straight from Arrow: no str is built and encoded again.
    raw = texts.cast(pa.large_binary()).to_pylist()
    return pa.array([hashlib.sha256(text).hexdigest()[:32] for text in raw], pa.string())


def pairs_of(first: pa.Array | pa.ChunkedArray, second: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One string for each pair of ids; different pairs have different ones (no id has a NUL)."""
    joined = pc.binary_join_element_wise(first, second, "\0")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined

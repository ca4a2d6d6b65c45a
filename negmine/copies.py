"""Which candidates of one query are copies, or near-copies, of each other: pure functions.

Found by locality-sensitive hashing of the stored signatures in bands of four values, so that two
texts at similarity 0.8 share a band with probability 1 - 10^-7; whoever shares one is compared.
"""

from __future__ import annotations

import numpy as np

from negmine.identity import linked, similarity
from negmine.samplers import splitmix


def bands(signature: np.ndarray) -> np.ndarray:
    """Every four values of 16 bits as one number: uint64 [n, values / 4]."""
    return np.ascontiguousarray(signature, dtype="<u2").view("<u8")


def shared(keys: np.ndarray) -> np.ndarray:
    """Rows that share a band with another row: no others can be near each other."""
    found = np.zeros(len(keys), dtype=bool)
    for band in keys.T:
        order = np.argsort(band)
        same = band[order][1:] == band[order][:-1]
        found[order[1:][same]] = True
        found[order[:-1][same]] = True
    return found


def groups(
    query: np.ndarray,
    candidate: np.ndarray,
    document: np.ndarray,
    signature: np.ndarray,
    keys: np.ndarray,
    at: float,
) -> np.ndarray:
    """Number of each row's group of texts that are the same or nearly, int64 [rows]; -1 = alone.

    A group is of one query; whoever is near one of its members belongs to it.

    Args:
        query: query number of each row.
        candidate: rows that count.
        document: each row's document, a row of what follows.
        signature: MinHash signatures per document.
        keys: their :func:`bands`.
        at: estimated Jaccard similarity from which two texts are near.
    """
    rows = np.flatnonzero(candidate)
    asked = splitmix(query[rows].astype(np.uint64))
    mine = keys[document[rows]]
    pairs = []
    for band in mine.T:
        key = splitmix(asked ^ band)
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        if not same.any():
            continue
        # Neighbours, and everyone with the first: enough to connect a bucket of copies.
        first = np.flatnonzero(np.concatenate(([True], ~same)))
        heads = np.repeat(order[first], np.diff(np.append(first, len(order))))
        others = heads != order
        pairs.append(np.stack([order[:-1][same], order[1:][same]]))
        pairs.append(np.stack([heads[others], order[others]]))
    found = np.full(len(query), -1, dtype=np.int64)
    if pairs:
        left, right = np.unique(np.concatenate(pairs, axis=1), axis=1)
        together = query[rows[left]] == query[rows[right]]
        left, right = left[together], right[together]
        of = document[rows]
        near = similarity(signature, of[left], of[right]) >= at
        found[rows] = linked(left[near], right[near], len(rows))
    return found


def repeats(group: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows of a group that another one comes before.

    Args:
        group: number of each row's group, -1 = none.
        place: each row's place in its query's preference, 1 = first; 0 = not to be taken.
    """
    rows = np.flatnonzero((place > 0) & (group >= 0))
    order = rows[np.lexsort((place[rows], group[rows]))]
    found = np.zeros(len(group), dtype=bool)
    found[order[1:][group[order][1:] == group[order][:-1]]] = True
    return found

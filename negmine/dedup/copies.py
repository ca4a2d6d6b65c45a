"""Which candidates of one query are copies, or near-copies, of each other: pure functions.

Found by locality-sensitive hashing of the stored signatures in bands of four values, so that two
texts at similarity 0.8 share a band with probability 1 - 10^-7; whoever shares one is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from negmine.dedup.minhash import PERMUTATIONS, linked, may_differ, similarity
from negmine.table.draws import splitmix

#: What ``dropped_by`` says of a copy of a candidate that comes before it.
REPEATED = "repeated_text"
#: Values of a band.
_BAND = 4
#: Up to so many rows that may be copies every pair is looked at.
_FEW = 3


@dataclass(frozen=True)
class Bands:
    """Signatures in bands of four values, and which documents share one.

    Attributes:
        keys: every band as one number, uint64 [n, values / 4].
        shared: whether another document has the same number there, bool [n, values / 4].
        family: number of each document's family, int64 [n], -1 = alone: those that share a band,
            and so on. No two of different families can be near each other.
    """

    keys: np.ndarray
    shared: np.ndarray
    family: np.ndarray


def bands(signature: np.ndarray) -> Bands:
    """The bands of signatures of 16-bit values [n, values]."""
    keys = np.ascontiguousarray(signature, dtype="<u2").view("<u8")
    shared = np.zeros(keys.shape, dtype=bool)
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number, band in enumerate(keys.T):
        order = np.argsort(band)
        same = band[order][1:] == band[order][:-1]
        left.append(order[:-1][same])
        right.append(order[1:][same])
        shared[left[-1], number] = shared[right[-1], number] = True
    family = linked(np.concatenate(left), np.concatenate(right), len(keys))
    return Bands(keys, shared, family)


def families_tell(at: float) -> bool:
    """Whether two documents that are near by their signatures are surely of one family.

    They differ in so few values that one of the bands has none of them.
    """
    return may_differ(at) < PERMUTATIONS // _BAND


def groups(
    query: np.ndarray,
    candidate: np.ndarray,
    document: np.ndarray,
    signature: np.ndarray,
    banded: Bands,
    at: float,
) -> np.ndarray:
    """Number of each row's group of texts that are the same or nearly, int64 [rows]; -1 = alone.

    A group is of one query; whoever is near one of its members belongs to it.

    Args:
        query: query number of each row.
        candidate: rows that count.
        document: each row's document, a row of what follows.
        signature: MinHash signatures per document.
        banded: their :func:`bands`, of which the families spare most rows a look. Other documents
            may be among them: they change nothing.
        at: estimated Jaccard similarity from which two texts are near.
    """
    rows, place, size = _related(query, candidate, banded.family[document])
    found = np.full(len(query), -1, dtype=np.int64)
    if len(rows) == 0:
        return found
    of = document[rows]
    many = np.flatnonzero(size > _FEW)
    few = _among_few(place, size, banded, of)
    meeting = _meeting(query[rows[many]], banded, of[many])
    left, right = (np.concatenate([a, many[b]]) for a, b in zip(few, meeting, strict=True))
    near = similarity(signature, of[left], of[right]) >= at
    found[rows] = linked(left[near], right[near], len(rows))
    return found


def groups_of_one(candidate: np.ndarray, signature: np.ndarray, at: float) -> np.ndarray:
    """:func:`groups` of the documents of one query."""
    rows = np.arange(len(signature))
    query = np.zeros(len(rows), dtype=np.int64)
    return groups(query, candidate, rows, signature, bands(signature), at)


def _among_few(
    place: np.ndarray, size: np.ndarray, banded: Bands, document: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows that share a band, each once, where a query has but a few of a family.

    They are :func:`_meeting`'s, which are all pairs of so few, and found without sorting bands:
    most rows of real texts are among two or three.

    Args:
        place: of each row among those of its query and family, which stand together; from 0.
        size: how many these are.
        banded: see :func:`groups`.
        document: each row's.
    """
    left, right = [], []
    for step in range(1, _FEW):
        first = np.flatnonzero((size <= _FEW) & (place + step < size))
        shares = (banded.keys[document[first]] == banded.keys[document[first + step]]).any(axis=1)
        left.append(first[shares])
        right.append(first[shares] + step)
    return np.concatenate(left), np.concatenate(right)


def _meeting(
    query: np.ndarray, banded: Bands, document: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of a query that share a band, each once.

    Of many that share one, neighbours, and everyone with the first: enough to connect copies. A
    band that no other document has is not looked at.
    """
    count = len(query)
    of, band = np.nonzero(banded.shared[document])
    asked = splitmix(query.astype(np.uint64))[of]
    every = splitmix(asked ^ banded.keys[document[of], band] ^ band.astype(np.uint64))
    # The place of each in its low bits: sorted as numbers, several times as fast as by index.
    low = np.uint64((1 << len(every).bit_length()) - 1)
    every = np.sort(every & ~low | np.arange(len(every), dtype=np.uint64))
    row = of[(every & low).astype(np.int64)]
    same = np.concatenate(([False], every[1:] & ~low == every[:-1] & ~low))
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(row))))
    other = np.flatnonzero(same)
    mine, before = row[other], np.concatenate([row[other - 1], row[first[other]]])
    pairs = np.sort(before * count + np.concatenate([mine, mine]))
    left, right = np.divmod(pairs[np.flatnonzero(np.diff(pairs, prepend=-1))], max(count, 1))
    # What is left of a key stands for three numbers: who shares it by chance is told apart, here
    # or by the signatures.
    kept = (left != right) & (query[left] == query[right])
    return left[kept], right[kept]


def _related(
    query: np.ndarray, candidate: np.ndarray, family: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose query has another one of their family.

    Returns:
        (rows, those of a query and family together, ascending; each one's place among these, from
        0; how many these are).
    """
    rows = np.flatnonzero(candidate & (family >= 0))
    key = query[rows] * (family.max(initial=0) + 1) + family[rows]
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=-1))
    sizes = np.diff(begins, append=len(rows))
    place, size = np.arange(len(rows)) - np.repeat(begins, sizes), np.repeat(sizes, sizes)
    several = size > 1
    return rows[order[several]], place[several], size[several]


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

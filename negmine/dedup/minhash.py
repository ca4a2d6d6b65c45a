"""Which texts are the same, or nearly: pure functions over Arrow arrays.

A text is compared as :mod:`negmine.dedup.normal` leaves it. Nearness is the Jaccard similarity of
the sets that :mod:`negmine.dedup.shingles` takes it apart into (of words or word triples, or runs
of characters), estimated with MinHash (Broder 1997) from 128 permutations; the estimate's standard
error is at most 0.044."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.dedup.normal import normalise
from negmine.dedup.shingles import DOCUMENT, QUERY, shingles
from negmine.errors import MissingDependencyError
from negmine.table.draws import digests, splitmix

PERMUTATIONS = 128
#: 16 bands of 8 rows: a pair at similarity 0.9 shares a band with probability 0.9999.
_BANDS = 16
#: Texts taken apart at a time: their words take many times the room of the text.
_TEXTS_AT_ONCE = 8192
#: Columns looked at beyond those that may differ: an unlike pair is told by them.
_LOOKED_BEYOND = 7
#: Pairs whose signatures are compared at a time (64 MiB).
_PAIRS_AT_ONCE = 65_536
_SEED = 1


@dataclass(frozen=True)
class Texts:
    """Features of texts.

    Attributes:
        content: digest of each normalised text.
        untitled: digest of what follows its title; the content's where it has none.
        size: shingles of each; 0 where nothing is left of the text.
        signature: MinHash signatures uint32 [n, 128].
    """

    content: np.ndarray
    untitled: np.ndarray
    size: np.ndarray
    signature: np.ndarray


def describe(texts: pa.Array, titles: pa.Array | None = None) -> Texts:
    """The features of texts.

    Args:
        texts: whole texts, titles included.
        titles: the title that each begins with, empty where it has none; None = none has.
    """
    content, untitled, size = (np.empty(len(texts), dtype=t) for t in (np.uint64, np.uint64, int))
    signature = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = slice(start, start + _TEXTS_AT_ONCE)
        normal = normalise(texts.slice(start, _TEXTS_AT_ONCE))
        content[some] = untitled[some] = digests(normal.texts)
        if titles is not None:
            titled, digest = _untitled(normal.texts, titles.slice(start, _TEXTS_AT_ONCE))
            untitled[start + titled] = digest
        tokens, offsets = shingles(normal, DOCUMENT)
        signature[some], size[some] = minhash(tokens, offsets), np.diff(offsets)
    return Texts(content, untitled, size, signature)


def _untitled(normal: pa.Array, titles: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(rows with a title, digest of what follows it) of normalised texts."""
    rows = np.flatnonzero(pc.not_equal(titles, "").to_numpy(zero_copy_only=False))
    some = pa.array(rows)
    pairs = zip(
        normal.take(some).to_pylist(),
        normalise(titles.take(some)).texts.to_pylist(),
        strict=True,
    )
    # Digests are made of strings one by one, too.
    rest = [text.removeprefix(title).lstrip(" ") for text, title in pairs]
    return rows, digests(pa.array(rest, pa.large_string()))


def minhash(tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """MinHash signatures, uint32 [rows, 128], of sets of 64-bit hashes."""
    try:
        from rensa import RMinHash
    except ImportError as error:
        raise MissingDependencyError(
            "comparing texts needs the package rensa",
            hint="pip install rensa, or give --no-same-text --no-query-text --own-document off "
            "--no-near-duplicates --no-repeated-texts --no-duplicate-queries.",
        ) from error
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(tokens, dtype=np.uint64),
        offsets.astype(np.uint64),
        PERMUTATIONS,
        _SEED,
    )
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(offsets) - 1, PERMUTATIONS)


def similarity(signature: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Estimated Jaccard similarity of row pairs, float64 [pairs].

    Args:
        signature: MinHash signatures, or the low bits of each value, [rows, 128].
        left: a row per pair.
        right: the other row of each.
    """
    found = np.empty(len(left))
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        found[part] = (signature[left[part]] == signature[right[part]]).mean(axis=1)
    return found


def may_differ(at: float) -> int:
    """In how many values two signatures of an estimated similarity of ``at`` differ at the most."""
    return PERMUTATIONS - int(np.ceil(at * PERMUTATIONS - 1e-9))


def similar(signature: np.ndarray, left: np.ndarray, right: np.ndarray, at: float) -> np.ndarray:
    """Which row pairs have an estimated similarity of at least ``at``.

    Most pairs are told from the first columns: as soon as more of them differ than may differ in
    all, the rest need not be read.
    """
    allowed = may_differ(at)
    width = min(PERMUTATIONS, allowed + _LOOKED_BEYOND)
    first = signature[:, :width]
    maybe = np.empty(len(left), dtype=bool)
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        differ = (first[left[part]] != first[right[part]]).sum(axis=1, dtype=np.int16)
        maybe[part] = differ <= allowed
    rest = np.flatnonzero(maybe)
    found = np.zeros(len(left), dtype=bool)
    found[rest] = similarity(signature, left[rest], right[rest]) >= at
    return found


def signatures(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """What queries are compared by, each by itself.

    Returns:
        (signatures, uint32 [n, permutations]; how many shingles each has, int64 [n]).
    """
    signature = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    size = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        some = slice(start, start + _TEXTS_AT_ONCE)
        tokens, offsets = shingles(normalise(texts.slice(start, _TEXTS_AT_ONCE)), QUERY)
        signature[some], size[some] = minhash(tokens, offsets), np.diff(offsets)
    return signature, size


def clusters(signature: np.ndarray, size: np.ndarray, at: float) -> np.ndarray:
    """Number of each text's cluster of near-duplicates, int64 [n]; -1 = alone.

    Compared are the sets of their words, or short runs of characters (:data:`QUERY`).
    Locality-sensitive hashing finds pairs that agree in a band of their signatures; a pair of at
    least ``at`` joins their clusters. Empty texts are alone.

    Args:
        signature: of each text, and
        size: its shingles, as :func:`signatures` gives them.
        at: similarity.
    """
    told = np.flatnonzero(size > 0)
    if len(told) == 0:
        return np.full(len(size), -1, dtype=np.int64)
    width = PERMUTATIONS // _BANDS
    pairs = []
    for band in range(_BANDS):
        # 64 bits of the band stand for it: whoever shares them by chance is told apart below.
        keys = np.zeros(len(told), dtype=np.uint64)
        for column in range(band * width, (band + 1) * width):
            keys = splitmix(keys ^ signature[told, column])
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        # Neighbours, and everyone with the bucket's first: enough to connect a bucket of copies.
        first = np.flatnonzero(np.concatenate(([True], ~same)))
        lengths = np.diff(np.append(first, len(order)))
        heads = np.repeat(order[first], lengths)
        others = heads != order
        left = told[np.concatenate([order[:-1][same], heads[others]])]
        right = told[np.concatenate([order[1:][same], order[others]])]
        # Band by band: what merely shares one is dropped before the next is looked at.
        near = similarity(signature, left, right) >= at
        pairs.append(np.stack([left[near], right[near]]))
    left, right = np.concatenate(pairs, axis=1)
    return linked(left, right, len(size))


def linked(left: np.ndarray, right: np.ndarray, count: int) -> np.ndarray:
    """Number of each row's group, int64 [count], rows being linked in pairs; -1 = alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    label = label.astype(np.int64)
    return np.where(np.bincount(label, minlength=count)[label] > 1, label, -1)


def pair_keys(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One 64-bit key per pair of integers."""
    return splitmix(splitmix(left.astype(np.uint64)) ^ right.astype(np.uint64))


def positive_pairs(query: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every (other row, positive row) of the same query, as two arrays of row numbers."""
    rows = np.flatnonzero(~positive)
    known = np.flatnonzero(positive)
    first = np.searchsorted(query[known], query[rows], side="left")
    count = np.searchsorted(query[known], query[rows], side="right") - first
    left = np.repeat(rows, count)
    step = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    return left, known[np.repeat(first, count) + step]


def same_text(
    query: np.ndarray, positive: np.ndarray, content: np.ndarray, family: np.ndarray | None = None
) -> np.ndarray:
    """Rows whose text is that of a positive of their query.

    Args:
        query: query number of each row.
        positive: known positives.
        content: digest of each row's text.
        family: numbers, -1 = alone, that rows of one text have in common; None = not known.
    """
    rows = _with_kin(len(query), family)
    keys, known = pair_keys(query[rows], content[rows]), positive[rows]
    found = np.zeros(len(query), dtype=bool)
    found[rows] = ~known & np.isin(keys, keys[known])
    return found


def _with_kin(count: int, family: np.ndarray | None) -> np.ndarray:
    """Rows that are not alone in their family."""
    return np.arange(count) if family is None else np.flatnonzero(family >= 0)


def near_duplicate(
    query: np.ndarray,
    positive: np.ndarray,
    row: np.ndarray,
    size: np.ndarray,
    signature: np.ndarray,
    at: float,
    family: np.ndarray | None = None,
) -> np.ndarray:
    """Rows whose text is at least ``at`` similar to a positive of their query.

    Args:
        query: query number of each row.
        positive: known positives.
        row: each row's document, a row of ``size`` and ``signature``.
        size: shingles per document.
        signature: MinHash signatures per document.
        at: Jaccard similarity.
        family: a number of each row, -1 = alone, that rows so similar have in common; None = not
            known.
    """
    some = _with_kin(len(query), family)
    left, right = (some[side] for side in positive_pairs(query[some], positive[some]))
    if family is not None:
        kin = family[left] == family[right]
        left, right = left[kin], right[kin]
    a, b = size[row[left]], size[row[right]]
    # Sets of very different sizes cannot be similar; repeated shingles blur the sizes a little.
    possible = np.minimum(a, b) >= 0.75 * at * np.maximum(a, b)
    possible &= np.minimum(a, b) > 0
    left, right = left[possible], right[possible]
    hit = similar(signature, row[left], row[right], at)
    found = np.zeros(len(query), dtype=bool)
    found[left[hit]] = True
    return found


def siblings(
    query: np.ndarray, positive: np.ndarray, docids: pa.ChunkedArray, suffix: str
) -> np.ndarray:
    """Rows that are chunks of a positive's document, a docid without ``suffix`` naming it.

    Raises:
        pa.ArrowInvalid: ``suffix`` is not a regular expression.
    """
    parent = pc.replace_substring_regex(docids, f"(?:{suffix})$", "")
    codes = parent.combine_chunks().dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    return sharing(query, positive, codes.indices.to_numpy().astype(np.int64))


def sharing(query: np.ndarray, positive: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Rows that share a value with a positive of their query.

    Args:
        query: query number of each row.
        positive: known positives.
        value: a code per value, -1 = none, which is shared with nobody.
    """
    keys = pair_keys(query, value)
    return ~positive & (value >= 0) & np.isin(keys, keys[positive & (value >= 0)])

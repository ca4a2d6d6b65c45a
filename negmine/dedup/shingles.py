"""The sets that near-duplicates are compared by: runs of words, or of characters.

A text is taken apart into words at its spaces. Where there are none
(:data:`negmine.dedup.normal.WIDE`, :data:`~negmine.dedup.normal.NARROW`), and in code, it is runs
of characters, spaces left out, about as long as the words that they stand for: a change of one word
weighs about the same in every script. In code, words and numbers next to each other stay apart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.dedup.normal import CODE, NARROW, WIDE, WORDS, Normal
from negmine.table.draws import digests, splitmix


@dataclass(frozen=True)
class Lengths:
    """How long a shingle is.

    Attributes:
        words: words of a shingle, where there are words.
        wide: characters of one, where a character is a syllable or a word.
        narrow: characters of one in alphabets without spaces and in code.
    """

    words: int
    wide: int
    narrow: int


#: Order counts in a document; of a query, which is short, only its words do.
DOCUMENT = Lengths(words=3, wide=6, narrow=12)
QUERY = Lengths(words=1, wide=3, narrow=6)
_CHARACTERS_AT_ONCE = 1 << 18
#: What stands between two words of code; it is in no normalised text.
_APART = "_"
#: What the ends of texts are filled up with: no character.
_FILL = 0x110000
#: How hashes of runs of so many characters are made: a run of ``step`` joins one of ``width``.
_THREE = ((1, 1), (1, 2))
_STEPS = {3: _THREE, 6: (*_THREE, (3, 3)), 12: (*_THREE, (3, 3), (6, 6))}


def shingles(normal: Normal, lengths: Lengths) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every shingle of texts; of fewer words than one it is one, an empty one has none.

    Returns:
        (hashes uint64, where each text's begin: offsets [n + 1]).
    """
    ways = (
        (normal.kind == WORDS, _words, lengths.words),
        (normal.kind == WIDE, _characters, lengths.wide),
        (normal.kind == NARROW, _characters, lengths.narrow),
        (normal.kind == CODE, _code, lengths.narrow),
    )
    found = []
    for mask, apart, length in ways:
        if mask.all():
            return apart(normal.texts, length)
        if mask.any():
            some = normal.texts.filter(pa.array(mask))
            found.append((np.flatnonzero(mask), *apart(some, length)))
    size = np.zeros(len(normal.texts), dtype=np.int64)
    for rows, _, offsets in found:
        size[rows] = np.diff(offsets)
    starts = np.concatenate(([0], np.cumsum(size)))
    hashes = np.empty(starts[-1], dtype=np.uint64)
    for rows, some_hashes, offsets in found:
        shift = np.repeat(starts[rows] - offsets[:-1], np.diff(offsets))
        hashes[np.arange(len(some_hashes)) + shift] = some_hashes
    return hashes, starts


def _words(texts: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
    lists = pc.split_pattern(texts, " ")
    filled = pc.list_flatten(lists)
    # An empty text splits into one empty word.
    counts = np.where(
        pc.equal(texts, "").to_numpy(zero_copy_only=False),
        0,
        pc.list_value_length(lists).to_numpy().astype(np.int64),
    )
    encoded = filled.filter(pc.not_equal(filled, "")).dictionary_encode()
    token = digests(encoded.dictionary)[encoded.indices.to_numpy()]
    stops = np.cumsum(counts)
    last = np.repeat(stops - 1, counts)
    here = np.arange(len(token))
    shingle = token
    for ahead in range(1, length):
        shingle = splitmix(shingle) ^ token[np.minimum(here + ahead, last)]
    size = np.where(counts > 0, np.maximum(counts - length + 1, 1), 0)
    starts = stops - counts
    short = (counts > 0) & (counts < length)
    # It was filled up with its last word: "ha ha" is not "ha ha ha".
    shingle[starts[short]] ^= splitmix(counts[short].astype(np.uint64))
    keep = here - np.repeat(starts, counts) < np.repeat(size, counts)
    return shingle[keep], np.concatenate(([0], np.cumsum(size)))


def _code(texts: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of code, runs of characters in which words and numbers stay apart: 1.5 is not 15."""
    return _characters(pc.replace_substring_regex(texts, r"\b \b", _APART), length)


def _characters(texts: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
    texts = pc.replace_substring(texts, " ", "")
    counts = pc.utf8_length(texts).to_numpy().astype(np.int64)
    size = np.where(counts > 0, counts + length - 1, 0)
    # As many texts at a time as are about so long: a hash takes several times a character's room.
    blocks = np.cumsum(counts) // _CHARACTERS_AT_ONCE
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    hashes = [np.empty(0, dtype=np.uint64)]
    for first, last in pairwise([*starts.tolist(), len(texts)]):
        some = texts.slice(first, last - first)
        hashes.append(_runs(some, counts[first:last], size[first:last], length))
    return np.concatenate(hashes), np.concatenate(([0], np.cumsum(size)))


def _runs(texts: pa.Array, counts: np.ndarray, size: np.ndarray, length: int) -> np.ndarray:
    """Hashes of runs of characters, of each text as many as it has with its ends filled up.

    A character at an end counts as much as one in the middle.
    """
    joined = "".join(texts.to_pylist()).encode("utf-32-le")
    fill = length - 1
    padded = np.where(counts > 0, counts + 2 * fill, 0)
    starts = np.cumsum(padded) - padded
    single = np.full(padded.sum(), splitmix(np.array([_FILL], np.uint64))[0], dtype=np.uint64)
    shift = np.repeat(starts + fill - (np.cumsum(counts) - counts), counts)
    single[np.arange(counts.sum()) + shift] = splitmix(
        np.frombuffer(joined, dtype=np.uint32).astype(np.uint64)
    )
    run = single
    for step, width in _STEPS[length]:
        ahead = single if step == 1 else run
        shifted = np.concatenate((ahead[width:], np.zeros(width, np.uint64)))[: len(run)]
        run = splitmix(run) ^ shifted
    return run[np.arange(size.sum()) + np.repeat(starts - (np.cumsum(size) - size), size)]

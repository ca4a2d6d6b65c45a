"""Numbers out of ids and scores: codes, order, places in a query."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def positions(
    query: np.ndarray,
    preference: np.ndarray,
    docid: np.ndarray | Codes,
    survivors: np.ndarray,
) -> np.ndarray:
    """1, 2, 3, ... for each query's survivors by falling preference, int64 [rows]; 0 for others.

    Args:
        query: query number of each row, ascending.
        preference: what to order by; NaN comes last.
        docid: codes that break ties.
        survivors: True for rows that may be taken.
    """
    rows = np.flatnonzero(survivors)
    order = rows[rank_order(query[rows], preference[rows], docid, rows)]
    found = np.zeros(len(query), dtype=np.int64)
    found[order] = positions_in_group(query[order])
    return found


def numbered(
    query: np.ndarray, by: np.ndarray, docid: np.ndarray | Codes, chosen: np.ndarray
) -> np.ndarray:
    """The chosen rows of each query numbered by falling ``by``, int32 [rows]; 0 for the others."""
    return positions(query, by, docid, chosen).astype(np.int32)


def string_codes(values: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Dictionary-encode strings so that comparing codes compares the strings (by UTF-8 bytes).

    Returns:
        (codes int64 [n], the sorted distinct strings).
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    encoded = values.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return position[codes] if len(order) else codes, encoded.dictionary.take(pa.array(order))


class Codes:
    """Codes that compare as strings do (by UTF-8 bytes), made when they are asked for.

    Ties are few, so that the strings of a part are seldom sorted.

    Args:
        strings: what is coded, without nulls.
    """

    def __init__(self, strings: pa.Array | pa.ChunkedArray) -> None:
        self._strings = strings
        self._all: np.ndarray | None = None

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Codes of some rows, int64; only those of one call compare with each other."""
        if self._all is None and 8 * len(rows) < len(self._strings):
            return string_codes(self._strings.take(pa.array(rows)))[0]
        if self._all is None:
            self._all = string_codes(self._strings)[0]
        return self._all[rows]


def rank_order(
    group: np.ndarray,
    score: np.ndarray,
    tie_break: np.ndarray | Codes,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """Row order that ranks within groups: by group, then -score, then ``tie_break`` (docid codes).

    This is the only ranking in negmine; NaN scores (unknown) come last in their group.

    Args:
        group: group of each row.
        score: its score.
        tie_break: what decides between equal scores.
        rows: each row's place in ``tie_break``; by default its own.
    """
    descending = np.where(np.isnan(score), np.inf, -score)
    # One fast sort by score, a stable one by group (a counting sort where the numbers are small),
    # and the tie break only where there is a tie: a third of the time of one sort by three keys.
    order = np.argsort(descending)
    groups = group[order]
    if len(group) and groups.min() >= 0 and groups.max() < 1 << 16:
        groups = groups.astype(np.uint16)
    order = order[np.argsort(groups, kind="stable")]
    sorted_group, sorted_score = group[order], descending[order]
    tied = (sorted_group[1:] == sorted_group[:-1]) & (sorted_score[1:] == sorted_score[:-1])
    if tied.any():
        run = np.concatenate(([0], np.cumsum(~tied)))
        inside = np.concatenate((tied, [False])) | np.concatenate(([False], tied))
        tied_rows = order[inside]
        codes = tie_break[tied_rows if rows is None else rows[tied_rows]]
        # Equal rows stay in table order: the fast sort is not stable.
        order[inside] = tied_rows[np.lexsort((tied_rows, codes, run[inside]))]
    return order


def positions_in_group(sorted_group: np.ndarray) -> np.ndarray:
    """1, 2, 3, ... within each run of equal values of a sorted array."""
    if len(sorted_group) == 0:
        return np.empty(0, dtype=np.int64)
    first = group_starts(sorted_group)
    lengths = np.diff(np.append(first, len(sorted_group)))
    return np.arange(1, len(sorted_group) + 1) - np.repeat(first, lengths)


def find(ascending: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a place of each key in an ascending array, True where that place holds the key).

    The array is not looked through as a whole: it may be much longer than the keys.
    """
    if len(ascending) == 0:
        return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=bool)
    at = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return at, ascending[at] == keys


def group_starts(group: np.ndarray) -> np.ndarray:
    """Row at which each run of equal values begins."""
    if len(group) == 0:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1])))


def query_numbers(qids: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Of a column whose equal values are neighbours, as ``qid`` is in every part.

    Returns:
        (number of each row's query 0, 1, 2, ... in table order, first row of each query).
    """
    column = qids.combine_chunks()
    if len(column) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    changes = pc.not_equal(column.slice(1), column.slice(0, len(column) - 1))
    first = np.concatenate(([True], changes.to_numpy(zero_copy_only=False)))
    return np.cumsum(first) - 1, np.flatnonzero(first)

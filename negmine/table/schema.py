"""The tables on disk: their Arrow schemas, their checks, and the only ranking function.

Every candidates table holds one row per (query, document) pair, grouped by query; each stage
after ``index`` adds columns to the right. Ids are strings; a null means "not known".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.table.names import NOT_SEARCHED, meta_column, rank_column, score_column

#: Version of everything below; an artifact of another version is refused.
SCHEMA_VERSION = 2

DOCUMENTS = pa.schema(
    [
        pa.field("docid", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)


def documents(kept: Sequence[str] = ()) -> pa.Schema:
    """Schema of the corpus: docid, title, text, then a ``meta_`` column per kept one."""
    return pa.schema([*DOCUMENTS, *(pa.field(meta_column(name), pa.string()) for name in kept)])


QUERIES = pa.schema(
    [
        pa.field("qid", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)

_PAIR = [
    pa.field("qid", pa.string(), nullable=False),
    pa.field("docid", pa.string(), nullable=False),
    pa.field("label", pa.int8(), nullable=False),
    pa.field("grade", pa.float64()),
]

LEDGER_COLUMNS = [
    pa.field("dropped_by", pa.string()),
    pa.field("selected", pa.int32()),
]

#: Columns that ``filter`` adds only when they are asked for.
OPTIONAL_LEDGER_COLUMNS = {
    "filled": pa.bool_(),
    "weight": pa.float32(),
    "difficulty": pa.float32(),
    "tau_plus": pa.float32(),
}


def candidates(sources: Sequence[str]) -> pa.Schema:
    """Schema of a retrieved table: qid, docid, label, grade, then rank and score per source."""
    fields = list(_PAIR)
    for source in sources:
        fields.append(pa.field(rank_column(source), pa.int32()))
        fields.append(pa.field(score_column(source), pa.float32()))
    return pa.schema(fields)


def with_scores(schema: pa.Schema, scorers: Sequence[str]) -> pa.Schema:
    """``schema`` with one score column per scorer added."""
    for scorer in scorers:
        schema = schema.append(pa.field(score_column(scorer), pa.float32()))
    return schema


def with_ledger(schema: pa.Schema, optional: Sequence[str] = ()) -> pa.Schema:
    """``schema`` with the columns that ``filter`` adds."""
    for field in LEDGER_COLUMNS:
        schema = schema.append(field)
    for name in optional:
        schema = schema.append(pa.field(name, OPTIONAL_LEDGER_COLUMNS[name]))
    return schema


def score_names(schema: pa.Schema) -> list[str]:
    """Names of all score columns, in table order."""
    prefix = score_column("")
    return [name.removeprefix(prefix) for name in schema.names if name.startswith(prefix)]


def source_names(schema: pa.Schema) -> list[str]:
    """Names of the retrieval sources, in table order."""
    prefix = rank_column("")
    return [name.removeprefix(prefix) for name in schema.names if name.startswith(prefix)]


def searched_names(schema: pa.Schema) -> list[str]:
    """The sources whose ranks are a search's; all of them where none is."""
    names = source_names(schema)
    return [name for name in names if name not in NOT_SEARCHED] or names


def pick_score(schema: pa.Schema, name: str | None, option: str) -> str:
    """The score asked for, or by default the last scorer's, else the first source's.

    Raises:
        UsageError: the table has no such score.
    """
    names = score_names(schema)
    sources = source_names(schema)
    if name is None:
        scorers = [scorer for scorer in names if scorer not in sources]
        return scorers[-1] if scorers else names[0]
    name = name.removeprefix(score_column(""))
    if name not in names:
        raise UsageError(
            f"{option}: the table has no score '{name}'", hint=did_you_mean(name, names)
        )
    return name


def check(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """``table`` if it fits ``schema`` exactly, nulls only where allowed, and no score is NaN.

    Raises:
        InvalidDataError: it does not.
    """
    if table.schema.names != schema.names:
        raise InvalidDataError(f"columns are {table.schema.names}, not {schema.names}", where=where)
    for field, column in zip(schema, table.columns, strict=True):
        if column.type != field.type and not (
            pa.types.is_dictionary(column.type) and column.type.value_type == field.type
        ):
            raise InvalidDataError(
                f"column '{field.name}' is {column.type}, not {field.type}", where=where
            )
        if not field.nullable and column.null_count:
            raise InvalidDataError(f"column '{field.name}' has nulls", where=where)
        if pa.types.is_floating(field.type):
            bad = pc.any(pc.invert(pc.is_finite(column))).as_py()
            if bad:
                raise InvalidDataError(
                    f"column '{field.name}' holds a NaN or infinite score",
                    where=where,
                    hint="A model that gives NaN is broken or overflows: try --dtype float32.",
                )
    return table


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


def queries_and_positives(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(number of each row's query in table order, True for known positives)."""
    return query_numbers(table.column("qid"))[0], table.column("label").to_numpy() == 1


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


def best_rank(table: pa.Table) -> np.ndarray:
    """Best rank over the sources that search; a row that none found has int32's maximum."""
    worst = np.iinfo(np.int32).max
    columns = [
        pc.fill_null(table.column(rank_column(name)), worst).to_numpy()
        for name in searched_names(table.schema)
    ]
    return np.minimum.reduce(columns)

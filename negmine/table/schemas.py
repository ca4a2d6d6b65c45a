"""The tables on disk: their Arrow schemas, their checks, and the only ranking function.

Every candidates table holds one row per (query, document) pair, grouped by query; each stage
after ``index`` adds columns to the right. Ids are strings; a null means "not known".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError, UsageError, did_you_mean
from negmine.table.names import (
    FIRST_SCORE,
    LEARNED,
    NOT_SEARCHED,
    RELABELLED_BY,
    meta_column,
    rank_column,
    score_column,
)

#: What the rank of a source that does not search says of it.
_NO_SEARCH = {b"searches": b"no"}
#: Likewise of one whose documents were written: no search is one either.
_WRITTEN = {**_NO_SEARCH, b"documents": b"written"}

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


def queries(kept: Sequence[str] = ()) -> pa.Schema:
    """Schema of a part's queries: qid, text, then a ``meta_`` column per kept one."""
    return pa.schema([*QUERIES, *(pa.field(meta_column(name), pa.string()) for name in kept)])


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
    "quota": pa.string(),
    "weight": pa.float32(),
    "difficulty": pa.float32(),
    "tau_plus": pa.float32(),
    FIRST_SCORE: pa.float32(),
    RELABELLED_BY: pa.string(),
}


def candidates(
    sources: Sequence[str],
    not_searched: Collection[str] = (),
    columns: Mapping[str, pa.DataType] | None = None,
    written: Collection[str] = (),
) -> pa.Schema:
    """Schema of a retrieved table: qid, docid, label, grade, then rank and score per source.

    Args:
        sources: their names, in table order.
        not_searched: those whose ranks are no search's; the table says so of them.
        columns: what else sources say of every row, by the column's name; they come last.
        written: those of the not searched ones whose documents were written.
    """
    fields = list(_PAIR)
    for source in sources:
        # What tells what is known already is told by its name.
        says = source in not_searched and source not in NOT_SEARCHED
        metadata = _WRITTEN if source in written else _NO_SEARCH if says else None
        fields.append(pa.field(rank_column(source), pa.int32(), metadata=metadata))
        fields.append(pa.field(score_column(source), pa.float32()))
    fields += [pa.field(name, kind) for name, kind in (columns or {}).items()]
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


def _says(schema: pa.Schema, source: str, what: Mapping[bytes, bytes]) -> bool:
    metadata = schema.field(rank_column(source)).metadata or {}
    return all(metadata.get(key) == value for key, value in what.items())


def not_searched_names(schema: pa.Schema) -> list[str]:
    """The sources whose ranks are no search's, in table order."""
    names = source_names(schema)
    return [name for name in names if name in NOT_SEARCHED or _says(schema, name, _NO_SEARCH)]


def written_names(schema: pa.Schema) -> list[str]:
    """The sources whose documents were written, in table order."""
    return [name for name in source_names(schema) if _says(schema, name, _WRITTEN)]


def searched_names(schema: pa.Schema) -> list[str]:
    """The sources whose ranks are a search's; all of them where none is."""
    names, others = source_names(schema), not_searched_names(schema)
    return [name for name in names if name not in others] or names


def scorer_names(schema: pa.Schema) -> list[str]:
    """Names of the scorers, in table order: scores of no source, and not learned by ``filter``."""
    others = {*source_names(schema), *LEARNED}
    return [name for name in score_names(schema) if name not in others]


def pick_score(schema: pa.Schema, name: str | None, option: str) -> str:
    """The score asked for, or by default the last scorer's, else the first source's.

    Raises:
        UsageError: the table has no such score.
    """
    names = score_names(schema)
    sources = source_names(schema)
    if name is None:
        scorers = [scorer for scorer in names if scorer not in sources]
        return scorers[-1] if scorers else searched_names(schema)[0]
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

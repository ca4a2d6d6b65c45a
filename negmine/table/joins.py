"""Kept columns of the corpus, joined to the parts of a candidates table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from negmine.engine.parts import groups
from negmine.errors import UsageError, did_you_mean
from negmine.table.documents import Documents
from negmine.table.names import meta_column

#: A part with its name.
NamedTable = tuple[str, pa.Table]


def check(column: str, documents: Documents, option: str) -> str:
    """``column``, if the corpus has it.

    Raises:
        UsageError: it was not kept.
    """
    kept = documents.kept
    if column not in kept:
        hint = f"Index again with --keep {column}."
        raise UsageError(
            f"{option}: the index keeps no column '{column}'",
            hint=f"{did_you_mean(column, kept)} Or index again with --keep {column}."
            if kept
            else hint,
        )
    return column


def join(
    parts: Iterable[NamedTable], documents: Documents, column: str, at_once: int
) -> Iterator[NamedTable]:
    """Each part with the column ``meta_COLUMN``, of its rows' documents.

    Args:
        parts: named parts with docids.
        documents: the corpus.
        column: one of its kept columns.
        at_once: bytes of parts whose documents are looked up together.
    """
    for group in groups(parts, lambda part: part[1].nbytes, at_once):
        docids, rows = distinct([table.column("docid") for _, table in group])
        values = documents.values(column, docids)
        for (name, table), row in zip(group, rows, strict=True):
            yield name, table.append_column(meta_column(column), values.take(pa.array(row)))


def distinct(docids: Sequence[pa.Array | pa.ChunkedArray]) -> tuple[pa.Array, list[np.ndarray]]:
    """The distinct docids of some columns, and per column each row's place among them."""
    chunks = [
        chunk
        for column in docids
        for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]
    encoded = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    stops = np.cumsum([len(column) for column in docids])
    return encoded.dictionary, np.split(encoded.indices.to_numpy(), stops[:-1])

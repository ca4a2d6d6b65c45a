"""How a format describes its examples, and how they become Arrow tables.

A format never touches a text: it says by index which text stands in which column of which
example. :func:`tables` then gathers the texts, some examples at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["query_text", "query_id", "doc_text", "doc_id", "score", "label"]

#: Text gathered at a time.
SLICE_BYTES = 64 << 20

_TYPES: dict[str, pa.DataType] = {
    "query_text": pa.string(),
    "query_id": pa.string(),
    "doc_text": pa.string(),
    "doc_id": pa.string(),
    "score": pa.float32(),
    "label": pa.int64(),
}


@dataclass(frozen=True)
class Chosen:
    """The examples' raw material in one part of the ledger.

    Attributes:
        qids: ids of the queries [q].
        query_texts: their texts [q].
        docids: ids of the documents in use [d].
        doc_texts: their texts [d].
        positive_query: query of each positive, ascending [p].
        positive_doc: its document [p].
        positive_score: its score, NaN = none [p].
        negative_query: query of each chosen negative, ascending [m].
        negative_doc: its document, in the order chosen [m].
        negative_score: its score, NaN = none [m].
    """

    qids: pa.Array
    query_texts: pa.Array
    docids: pa.Array
    doc_texts: pa.Array
    positive_query: np.ndarray
    positive_doc: np.ndarray
    positive_score: np.ndarray
    negative_query: np.ndarray
    negative_doc: np.ndarray
    negative_score: np.ndarray


@dataclass(frozen=True)
class Options:
    """What to add to the bare texts."""

    scores: bool
    ids: bool
    num_negatives: int


@dataclass(frozen=True)
class Column:
    """One column of the examples.

    Attributes:
        name: its name.
        kind: what its values are.
        values: indices of queries or documents, or the scores or labels themselves.
        offsets: where each example's list begins and the last ends, for a list column.
    """

    name: str
    kind: Kind
    values: np.ndarray
    offsets: np.ndarray | None = None

    @property
    def type(self) -> pa.DataType:
        """Arrow type of the column."""
        item = _TYPES[self.kind]
        return item if self.offsets is None else pa.list_(item)


@dataclass(frozen=True)
class Examples:
    """A part's examples: the columns, and how many queries gave none."""

    columns: Sequence[Column]
    count: int
    queries_left_out: int

    @property
    def schema(self) -> pa.Schema:
        """Schema of the training set."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])


def tables(examples: Examples, chosen: Chosen) -> Iterator[pa.Table]:
    """The examples with their texts, in slices of about :data:`SLICE_BYTES`."""
    lengths = {
        "query_text": pc.binary_length(chosen.query_texts).to_numpy(),
        "doc_text": pc.binary_length(chosen.doc_texts).to_numpy(),
    }
    size = np.zeros(examples.count, dtype=np.int64)
    for column in examples.columns:
        if column.kind in lengths:
            each = lengths[column.kind][column.values]
            if column.offsets is None:
                size += each
            elif len(each):
                total = np.concatenate(([0], np.cumsum(each)))
                size += total[column.offsets[1:]] - total[column.offsets[:-1]]
    slice_of = np.cumsum(size) // SLICE_BYTES
    bounds = np.flatnonzero(np.diff(slice_of)) + 1
    starts, stops = [0, *bounds.tolist()], [*bounds.tolist(), examples.count]
    for start, stop in zip(starts, stops, strict=True):
        yield pa.table(
            [_gather(column, chosen, start, stop) for column in examples.columns],
            schema=examples.schema,
        )


def _gather(column: Column, chosen: Chosen, start: int, stop: int) -> pa.Array:
    if column.offsets is None:
        return _values(column, chosen, column.values[start:stop])
    offsets = column.offsets[start : stop + 1]
    values = _values(column, chosen, column.values[offsets[0] : offsets[-1]])
    return pa.ListArray.from_arrays(pa.array((offsets - offsets[0]).astype(np.int32)), values)


def _values(column: Column, chosen: Chosen, values: np.ndarray) -> pa.Array:
    match column.kind:
        case "query_text":
            gathered = chosen.query_texts.take(pa.array(values))
        case "query_id":
            gathered = chosen.qids.take(pa.array(values))
        case "doc_text":
            gathered = chosen.doc_texts.take(pa.array(values))
        case "doc_id":
            gathered = chosen.docids.take(pa.array(values))
        case "score":
            gathered = pa.array(values, pa.float32(), mask=np.isnan(values))
        case "label":
            gathered = pa.array(values, pa.int64())
    return gathered.cast(_TYPES[column.kind])

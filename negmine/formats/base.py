"""How a format describes its examples, and how they become Arrow tables.

A format never touches a text: it says by index which text stands in which column of which
example. :func:`tables` then gathers the texts, some examples at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal[
    "query_text",
    "query_id",
    "query_number",
    "doc_text",
    "doc_id",
    "doc_number",
    "score",
    "label",
    "constant",
    "real",
    "flag",
    "integer",
    "struct",
    "nested",
]

#: Text gathered at a time.
SLICE_BYTES = 64 << 20

_TYPES: dict[str, pa.DataType] = {
    "query_text": pa.string(),
    "query_id": pa.string(),
    "query_number": pa.int64(),
    "doc_text": pa.string(),
    "doc_id": pa.string(),
    "doc_number": pa.int64(),
    "score": pa.float32(),
    "label": pa.int64(),
    "constant": pa.string(),
    "real": pa.float32(),
    "flag": pa.bool_(),
    "integer": pa.int64(),
}
_COMPOUND = ("struct", "nested")
_TEXTS = ("query_text", "doc_text")
_QUERIES = ("query_text", "query_id", "query_number")
_DOCUMENTS = ("doc_text", "doc_id", "doc_number")


@dataclass(frozen=True)
class Measure:
    """A number that the ledger has for every row: a score, a weight, a rank, a mark.

    Attributes:
        name: its name.
        kind: ``score``, ``real``, ``flag`` or ``integer``.
        positive: the positives' values, NaN = none [p].
        negative: the chosen negatives' values, NaN = none [m].
    """

    name: str
    kind: Kind
    positive: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True)
class Chosen:
    """The examples' raw material in one part of the ledger.

    Attributes:
        qids: ids of the queries [q].
        query_texts: their texts [q].
        docids: ids of the documents in use [d].
        doc_texts: their texts [d]; None until they are looked up.
        positive_query: query of each positive, ascending [p].
        positive_doc: its document [p].
        positive_score: its score, NaN = none [p].
        negative_query: query of each chosen negative, ascending [m].
        negative_doc: its document, in the order chosen [m].
        negative_score: its score, NaN = none [m].
        negative_ranks: per source, the negative's retrieval rank, 0 = not retrieved [m]; empty
            unless the format asks for ranks.
        extras: columns of the ledger that go out too.
        negative_order: what the examples are ordered by, NaN = none [m]; empty unless they are.
        positive_promoted: which positives the filter made itself, bool [p]; empty: not told.
    """

    qids: pa.Array
    query_texts: pa.Array
    docids: pa.Array
    doc_texts: pa.Array | None
    positive_query: np.ndarray
    positive_doc: np.ndarray
    positive_score: np.ndarray
    negative_query: np.ndarray
    negative_doc: np.ndarray
    negative_score: np.ndarray
    negative_ranks: Mapping[str, np.ndarray] = field(default_factory=dict)
    extras: tuple[Measure, ...] = ()
    negative_order: np.ndarray = field(default_factory=lambda: np.empty(0))
    positive_promoted: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))

    def measures(self, scores: str | None) -> list[Measure]:
        """What stands beside every document: the scores, if they have a name, and the extras."""
        if scores is None:
            return list(self.extras)
        known = Measure(scores, "score", self.positive_score, self.negative_score)
        return [known, *self.extras]


@dataclass(frozen=True)
class Options:
    """What to add to the bare texts.

    Attributes:
        scores: the scores of positives and negatives.
        ids: ids of queries and documents.
        num_negatives: negatives of a complete query.
        prompt: instruction that goes out with every query, for formats that have a place for it.
        integer_ids: every id of the ledger is an integer.
    """

    scores: bool
    ids: bool
    num_negatives: int
    prompt: str | None = None
    integer_ids: bool = False


@dataclass(frozen=True)
class Column:
    """One column of the examples.

    Attributes:
        name: its name.
        kind: what its values are; ``nested`` items are those of its only field, which are lists.
        values: indices of queries or documents, or the scores or labels themselves; unused where
            the column has fields.
        offsets: where each example's list begins and the last ends, for a list column.
        fields: what a struct column is made of: a column per field.
        constant: what a constant column says.
    """

    name: str
    kind: Kind
    values: np.ndarray
    offsets: np.ndarray | None = None
    fields: tuple[Column, ...] = ()
    constant: str = ""

    @property
    def type(self) -> pa.DataType:
        """Arrow type of the column."""
        if self.kind == "struct":
            item = pa.struct([pa.field(part.name, part.type) for part in self.fields])
        elif self.kind == "nested":
            item = self.fields[0].type
        else:
            item = _TYPES[self.kind]
        return item if self.offsets is None else pa.list_(item)

    def take(self, order: np.ndarray) -> Column:
        """The column for the examples ``order``, in that order."""
        if self.offsets is None:
            return self._items(order)
        length = np.diff(self.offsets)[order]
        offsets = np.concatenate(([0], np.cumsum(length)))
        shift = np.repeat(self.offsets[:-1][order] - offsets[:-1], length)
        return replace(self._items(shift + np.arange(offsets[-1])), offsets=offsets)

    def _items(self, order: np.ndarray) -> Column:
        if self.kind in _COMPOUND:
            return replace(self, fields=tuple(part.take(order) for part in self.fields))
        return replace(self, values=self.values[order])

    def leaves(self) -> Iterator[Column]:
        """The columns inside that hold values: itself, or its fields' leaves."""
        if self.kind in _COMPOUND:
            for part in self.fields:
                yield from part.leaves()
        else:
            yield self


def struct(name: str, fields: Sequence[Column], offsets: np.ndarray | None = None) -> Column:
    """A struct column, or with ``offsets`` a list of structs."""
    return Column(name, "struct", np.empty(0), offsets, tuple(fields))


def wrapped(name: str, item: Column, offsets: np.ndarray) -> Column:
    """A list column whose items are lists themselves, of one value of ``item`` each."""
    count = int(offsets[-1])
    return Column(
        name, "nested", np.empty(0), offsets, (replace(item, offsets=np.arange(count + 1)),)
    )


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

    def take(self, order: np.ndarray) -> Examples:
        """The examples ``order``, in that order."""
        columns = [column.take(order) for column in self.columns]
        return Examples(columns, len(order), self.queries_left_out)

    def queries(self) -> np.ndarray:
        """Query of each example."""
        for column in self.columns:
            for leaf in column.leaves():
                if leaf.kind in _QUERIES:
                    # A conversation holds the query as the first of an example's messages.
                    first = slice(None) if column.offsets is None else column.offsets[:-1]
                    return leaf.values[first]
        raise ValueError("the examples tell no query")

    def document_lists(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Documents of each example, column by column: indices, and where each list begins."""
        kinds = {leaf.kind for column in self.columns for leaf in column.leaves()}
        # A document's text and its id are one document.
        kind = next(kind for kind in _DOCUMENTS if kind in kinds)
        plain = np.arange(self.count + 1)
        found = []
        for column in self.columns:
            outer = plain if column.offsets is None else column.offsets
            for leaf in column.leaves():
                if leaf.kind == kind:
                    inner = None if leaf is column else leaf.offsets
                    found.append((leaf.values, outer if inner is None else inner))
        return found

    def documents(self) -> np.ndarray:
        """Ascending indices of the documents in use."""
        return _distinct(self, _DOCUMENTS)

    def without_texts(self) -> Examples:
        """The same examples, told by ids alone."""
        kept = [_textless(column) for column in self.columns]
        return replace(self, columns=[column for column in kept if column is not None])

    def unknown_scores(self) -> int:
        """How many of the scores are not known."""
        scores = (c for column in self.columns for c in column.leaves() if c.kind == "score")
        return sum(int(np.isnan(column.values).sum()) for column in scores)


@dataclass(frozen=True)
class Format:
    """A consumer's layout.

    Attributes:
        layout: from the chosen rows to examples; pure.
        needs: what a query must have to give an example; ``{n}`` is the number of negatives.
        suffixes: what its files may end with; the first one is what a folder's parts have.
        trains: False where the rows are no training examples, so that batches make no sense.
        ranks: the layout reads ``negative_ranks``.
        sidecars: a folder also gets tables of the queries and the documents by id.
        numbered: queries and documents are told by their lines in ``queries.tsv`` and
            ``collection.tsv``, which a folder gets.
        closed: no further column can stand beside its own (``batch``, ``--extra``).
        selective: rows of a query may be left out of its examples; they are counted.
        scores: whether scores go out when they are ``asked`` for, ``always`` or ``never``.
        survivors: the negatives may be all candidates that survived (``--negatives``).
        prompts: there is a place for an instruction beside every query.
        any_number: the formats of the same consumer that take any number of negatives.
    """

    layout: Callable[[Chosen, Options], Examples]
    needs: str = "a positive and a negative"
    suffixes: tuple[str, ...] = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
    trains: bool = True
    ranks: bool = False
    sidecars: bool = False
    numbered: bool = False
    closed: bool = False
    selective: bool = False
    scores: Literal["asked", "always", "never"] = "asked"
    survivors: bool = False
    prompts: bool = False
    any_number: str = ""


def nothing(sources: Sequence[str] = (), extras: Mapping[str, Kind] | None = None) -> Chosen:
    """No example's raw material, for the schema."""
    none = np.empty(0, dtype=np.int64)
    empty = pa.array([], pa.string())
    ranks = dict.fromkeys(sources, none)
    real = none * 1.0
    measures = tuple(Measure(name, kind, real, real) for name, kind in (extras or {}).items())
    return Chosen(empty, empty, empty, empty, none, none, real, none, none, real, ranks, measures)


def localise(examples: Examples, chosen: Chosen) -> tuple[Examples, Chosen]:
    """The examples over only the queries and documents that they use.

    Returns:
        The examples with new indices, and their raw material: ids and texts alone.
    """
    queries, documents = _distinct(examples, _QUERIES), examples.documents()
    local = [_remapped(column, queries, documents) for column in examples.columns]
    none = nothing()
    taken = replace(
        none,
        qids=chosen.qids.take(pa.array(queries)),
        query_texts=chosen.query_texts.take(pa.array(queries)),
        docids=chosen.docids.take(pa.array(documents)),
        doc_texts=None if chosen.doc_texts is None else chosen.doc_texts.take(pa.array(documents)),
    )
    return replace(examples, columns=local), taken


def tables(examples: Examples, chosen: Chosen) -> Iterator[pa.Table]:
    """The examples with their texts, in slices of about :data:`SLICE_BYTES`."""
    lengths = {"query_text": pc.binary_length(chosen.query_texts).to_numpy()}
    if chosen.doc_texts is not None:
        lengths["doc_text"] = pc.binary_length(chosen.doc_texts).to_numpy()
    size = np.zeros(examples.count, dtype=np.int64)
    for column in examples.columns:
        size += _bytes(column, lengths, examples.count)
    slice_of = np.cumsum(size) // SLICE_BYTES
    bounds = np.flatnonzero(np.diff(slice_of)) + 1
    starts, stops = [0, *bounds.tolist()], [*bounds.tolist(), examples.count]
    for start, stop in zip(starts, stops, strict=True):
        part = examples.take(np.arange(start, stop)) if len(starts) > 1 else examples
        yield pa.table([_gather(column, chosen) for column in part.columns], part.schema)


def _distinct(examples: Examples, kinds: tuple[str, ...]) -> np.ndarray:
    used = [
        leaf.values for column in examples.columns for leaf in column.leaves() if leaf.kind in kinds
    ]
    return np.unique(np.concatenate(used)) if used else np.empty(0, dtype=np.int64)


def _remapped(column: Column, queries: np.ndarray, documents: np.ndarray) -> Column:
    if column.kind in _COMPOUND:
        fields = tuple(_remapped(part, queries, documents) for part in column.fields)
        return replace(column, fields=fields)
    if column.kind in _QUERIES:
        return replace(column, values=np.searchsorted(queries, column.values))
    if column.kind in _DOCUMENTS:
        return replace(column, values=np.searchsorted(documents, column.values))
    return column


def _textless(column: Column) -> Column | None:
    if column.kind in _TEXTS:
        return None
    if column.kind not in _COMPOUND:
        return column
    kept = [_textless(part) for part in column.fields]
    fields = tuple(part for part in kept if part is not None)
    # A constant says something about the text beside it, and nothing without.
    empty = all(part.kind == "constant" for part in fields)
    return None if empty else replace(column, fields=fields)


def _bytes(column: Column, lengths: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """Bytes of text per example (or per item of a struct's field)."""
    items = count if column.offsets is None else int(column.offsets[-1])
    if column.kind in _COMPOUND:
        each = np.zeros(items, dtype=np.int64)
        for part in column.fields:
            each += _bytes(part, lengths, items)
    elif column.kind in lengths:
        each = lengths[column.kind][column.values].astype(np.int64)
    else:
        each = np.zeros(items, dtype=np.int64)
    if column.offsets is None:
        return each
    total = np.concatenate(([0], np.cumsum(each)))
    return total[column.offsets[1:]] - total[column.offsets[:-1]]


def _gather(column: Column, chosen: Chosen) -> pa.Array:
    if column.kind == "struct":
        items = pa.StructArray.from_arrays(
            [_gather(part, chosen) for part in column.fields],
            fields=[pa.field(part.name, part.type) for part in column.fields],
        )
    elif column.kind == "nested":
        items = _gather(column.fields[0], chosen)
    else:
        items = _values(column, chosen)
    if column.offsets is None:
        return items
    return pa.ListArray.from_arrays(pa.array(column.offsets.astype(np.int32)), items)


def _values(column: Column, chosen: Chosen) -> pa.Array:
    values = column.values
    match column.kind:
        case "query_text":
            gathered = chosen.query_texts.take(pa.array(values))
        case "query_id" | "query_number":
            gathered = chosen.qids.take(pa.array(values))
        case "doc_text":
            assert chosen.doc_texts is not None, "texts are looked up before they are gathered"
            gathered = chosen.doc_texts.take(pa.array(values))
        case "doc_id" | "doc_number":
            gathered = chosen.docids.take(pa.array(values))
        case "score" | "real":
            gathered = pa.array(values, pa.float32(), mask=np.isnan(values))
        case "flag" | "integer":
            unknown = np.isnan(values)
            plain = np.where(unknown, 0, values).astype(bool if column.kind == "flag" else int)
            gathered = pa.array(plain, mask=unknown)
        case "constant":
            gathered = pa.repeat(pa.scalar(column.constant), len(values))
        case _:
            gathered = pa.array(values, pa.int64())
    return gathered.cast(_TYPES[column.kind])

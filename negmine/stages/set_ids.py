"""Which query and which document a record of a training set means.

Ids that a set does not tell are content hashes; a passage whose id or text a document of the corpus
has is that document.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import InvalidDataError
from negmine.table.documents import ByContent, text_contents
from negmine.table.ids import content_ids


class Corpus(Protocol):
    """What is asked of the documents while judgements are read."""

    @property
    def added_from(self) -> int:
        """Row number from which documents are passages that ``index`` added to the corpus."""

    def rows(self, docids: pa.Array) -> np.ndarray:
        """Row number of each docid, -1 where there is no such document."""

    def empty(self) -> pa.Array:
        """Ids of the documents that have no text."""

    def find_contents(self, contents: pa.Array, *, untitled: bool = True) -> ByContent:
        """A document of each content id, texts without titles included if they count."""


def contents_of(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Content ids of each passage and of its text without its title, null where there is none."""
    if batch.column("text").null_count == 0:
        return text_contents(batch)
    there = pc.is_valid(batch.column("text")).to_numpy(zero_copy_only=False)
    places = pa.array(np.cumsum(there) - 1, mask=~there)
    full, untitled = text_contents(batch.filter(pa.array(there)))
    return full.take(places), untitled.take(places)


def query_ids(batch: pa.RecordBatch, texts: dict[str, str], path: str) -> pa.Array:
    """The query id of each row, made of the text where there is none.

    Args:
        batch: the rows.
        texts: gets the text of every id, where there is one.
        path: for messages.

    Raises:
        InvalidDataError: one id with two texts.
    """
    ids, asked = batch.column("qid"), batch.column("query")
    if ids.null_count == len(ids):
        distinct = asked.unique()
        made = content_ids(distinct)
        texts.update(zip(made.to_pylist(), distinct.to_pylist(), strict=True))
        return made.take(pc.index_in(asked, value_set=distinct))
    if ids.null_count:
        distinct = asked.drop_null().unique()
        made = content_ids(distinct).take(pc.index_in(asked, value_set=distinct))
        ids = pc.coalesce(ids, made)
    told = pc.is_valid(asked)
    for qid, text in dict.fromkeys(
        zip(ids.filter(told).to_pylist(), asked.filter(told).to_pylist(), strict=True)
    ):
        if texts.setdefault(qid, text) != text:
            raise InvalidDataError(
                f"query id {qid!r} appears twice with different texts",
                where=path,
                hint="Query ids must be unique.",
            )
    return ids


def document_ids(rows: pa.Table, corpus: Corpus) -> tuple[pa.Array, int]:
    """The corpus's id of each passage: its own, else that of its text; else what it would be.

    Returns:
        (ids, texts that several documents have under different titles).
    """
    own, contents, untitled = (
        rows.column(name).combine_chunks() for name in ("docid", "content", "untitled")
    )
    told = pc.coalesce(own, contents)
    if own.null_count < len(own):
        distinct = own.drop_null().unique()
        there = distinct.filter(pa.array(corpus.rows(distinct) >= 0))
        held = pc.is_in(own, value_set=there)
        own = pc.if_else(pc.or_(held, pc.is_null(contents)), own, None)
    by_text, several = documents_of(contents.filter(pc.is_null(own)), corpus)
    own = pc.coalesce(own, _looked_up(contents, by_text))
    # A corpus without titles has the passage's text alone.
    missing = untitled.filter(pc.is_null(own)).drop_null().unique()
    if len(missing):
        found = corpus.find_contents(missing, untitled=False)
        own = pc.coalesce(own, _looked_up(untitled, (missing, found.docids)))
    return pc.coalesce(own, told), several


def documents_of(contents: pa.Array, corpus: Corpus) -> tuple[tuple[pa.Array, pa.Array], int]:
    """Ids of the corpus's documents of some contents.

    Returns:
        ((the distinct contents, of each the id or null), contents of several documents).
    """
    distinct = contents.drop_null().unique()
    known = pa.array(corpus.rows(distinct) >= 0)
    missing = distinct.filter(pc.invert(known))
    if len(missing) == 0:
        return (distinct, distinct), 0
    found = corpus.find_contents(missing)
    elsewhere = _looked_up(distinct, (missing, found.docids))
    return (distinct, pc.if_else(known, distinct, elsewhere)), found.several


def _looked_up(values: pa.Array, table: tuple[pa.Array, pa.Array]) -> pa.Array:
    """What stands beside each value in a table of distinct ones, null where there is none."""
    return table[1].take(pc.index_in(values, value_set=table[0]))

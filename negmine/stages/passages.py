"""The passages of a training set as documents: those that the corpus does not hold already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from negmine.errors import UsageError
from negmine.table.documents import full_text, text_contents
from negmine.table.ids import content_ids
from negmine.table.readers import Specs
from negmine.table.readers.specs import shown
from negmine.table.schema import documents as documents_schema


class Passages:
    """The passages of a training set beside a corpus.

    A passage is a corpus document where its id is one, or else where its text is, with or without
    the document's title. What is held: an id and a digest of each passage.

    Attributes:
        other_text: passages whose id the corpus has with another text; the corpus's counts.
    """

    def __init__(self, found: Iterator[pa.RecordBatch]) -> None:
        keys = [_keys(batch) for batch in found]
        ids = pa.chunked_array([key[0] for key in keys], pa.string()).combine_chunks()
        contents = pa.chunked_array([key[1] for key in keys], pa.string()).combine_chunks()
        self._wanted_ids, self._wanted = ids.unique(), contents.unique()
        named = pa.table({"docid": ids, "content": contents})
        self._named = named.group_by(["docid", "content"]).aggregate([])
        self._held_ids = self._held = pa.array([], pa.string())
        self.other_text = 0

    def seen(self, batch: pa.RecordBatch) -> None:
        """Note which of the passages some documents of the corpus are."""
        contents, alone = text_contents(batch)
        docids = batch.column("docid")
        texts = pa.concat_arrays([contents, alone])
        by_text = texts.filter(pc.is_in(texts, value_set=self._wanted))
        named = pc.is_in(docids, value_set=self._wanted_ids)
        self._held = pa.concat_arrays([self._held, by_text]).unique()
        self._held_ids = pa.concat_arrays([self._held_ids, docids.filter(named)]).unique()
        if pc.any(named, min_count=0).as_py():
            here = pa.table({"docid": docids, "other": contents}).filter(named)
            both = self._named.join(here, "docid", join_type="inner")
            differ = pc.not_equal(both.column("content"), both.column("other"))
            self.other_text += int(pc.sum(differ, min_count=0).as_py())

    def missing(self) -> tuple[int, int, str]:
        """(passages that no document seen is, of how many, the id of one of them or nothing)."""
        known = pc.or_(
            pc.is_in(self._named.column("content"), value_set=self._held),
            pc.is_in(self._named.column("docid"), value_set=self._held_ids),
        )
        ids = self._named.filter(pc.invert(known)).column("docid").unique().sort()
        return len(ids), len(self._wanted_ids), ids[0].as_py() if len(ids) else ""

    def others(self, batch: pa.RecordBatch, kept: Sequence[str]) -> pa.RecordBatch:
        """Those of some rows that the corpus does not hold, as documents, each once."""
        made = documents(batch, kept)
        contents = content_ids(full_text(made))
        known = pc.or_(
            pc.is_in(contents, value_set=self._held),
            pc.is_in(made.column("docid"), value_set=self._held_ids),
        )
        return made.filter(pc.invert(known))


def _keys(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Id and content id of each passage that has a text."""
    made = documents(batch, ())
    return made.column("docid"), content_ids(full_text(made))


def documents(batch: pa.RecordBatch, kept: Sequence[str]) -> pa.RecordBatch:
    """The passages of some rows as documents, each once; without an id their content tells one.

    Args:
        batch: rows of ``EXAMPLES_SCHEMA``.
        kept: the columns that the documents have besides id, title and text; all null here.
    """
    if batch.column("text").null_count:
        batch = batch.filter(pc.is_valid(batch.column("text")))
    docids = batch.column("docid")
    if docids.null_count:
        docids = pc.coalesce(docids, content_ids(full_text(batch)))
    nothing = [pa.nulls(batch.num_rows, pa.string())] * len(kept)
    made = pa.RecordBatch.from_arrays(
        [docids, batch.column("title"), batch.column("text"), *nothing],
        names=documents_schema(kept).names,
    )
    return _distinct(made)


def _distinct(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Each row once (a passage that several queries have is no repeated id)."""
    table = pa.table(
        {
            "docid": batch.column("docid"),
            "text": full_text(batch),
            "row": pa.array(range(batch.num_rows), pa.int64()),
        }
    )
    first = table.group_by(["docid", "text"]).aggregate([("row", "min")]).column("row_min")
    return batch.take(first.combine_chunks().sort())


def refuse_ids(specs: Specs) -> UsageError:
    """What to raise where a set holds ids and there is no corpus to look them up in."""
    return UsageError(
        "the pairs hold ids and no texts",
        where=shown(specs),
        hint="Give --corpus FILE with the documents' ids and texts (and retrieve --queries FILE).",
    )
